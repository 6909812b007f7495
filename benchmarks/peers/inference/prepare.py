"""Preparation: a model in the forms that its engines read, the artefact among them."""

from pathlib import Path

from bottega.compile import tree_onnx
from bottega.compile.plain_build import build_plain
from bottega.compile.xgboost_trees import read_xgboost
from models.reference import reference_model
from peers.inference import trees
from peers.inference.task import ARTEFACT, GRAPH, KEY, TREES, Task


def prepare(task: Task) -> None:
    """Write the model's files; the artefact has a bucket for each batch."""
    folder = Path(task.folder)
    if task.model == TREES:
        trees.train_booster(folder, task.seed)
        if "sklearn" in task.backends:
            trees.train_forest(folder, task.seed)
        source = read_xgboost((folder / trees.BOOSTER).read_bytes())
        graph = tree_onnx.to_onnx(source)
    else:
        source = graph = reference_model(task.model, task.seed).onnx()
    (folder / GRAPH).write_bytes(graph)
    if "bottega" in task.backends:
        build_plain(source, folder / ARTEFACT, name=task.model, version="1", key=KEY, buckets=task.batches)
