"""torch.compile with a static batch and frozen weights: C++ by Inductor, matrix products by oneDNN."""

import torch

from peers.inference.case import Case, Run
from peers.inference.with_torch import caller


def load(case: Case, threads: int) -> Run:
    """The compiled module; it compiles at its first call."""
    torch.set_num_threads(threads)
    return caller(torch.compile(case.network.module, dynamic=False, options={"freezing": True}))
