"""ONNX Runtime on the same graph, with all its optimisations."""

import onnxruntime

from peers.inference.case import Case, Inputs, Run
from peers.inference.task import GRAPH


def load(case: Case, threads: int) -> Run:
    """A session of so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(case.folder / GRAPH, options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> list:
        return session.run(None, inputs)

    return run
