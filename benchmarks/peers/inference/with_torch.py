"""PyTorch, eager: the module itself, from numpy arrays to numpy arrays."""

from collections.abc import Callable

import torch

from peers.inference.case import Case, Inputs, Run


def load(case: Case, threads: int) -> Run:
    """The module in inference mode."""
    torch.set_num_threads(threads)
    return caller(case.network.module)


def caller(module: Callable) -> Run:
    """Calls a module, or what was made of it."""

    def run(inputs: Inputs) -> list:
        with torch.inference_mode():
            found = module(*map(torch.from_numpy, inputs.values()))
        return [answer.numpy() for answer in (found if isinstance(found, tuple) else (found,))]

    return run
