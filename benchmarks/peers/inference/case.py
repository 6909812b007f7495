"""A case: a model with the batches that its engines are asked, and what their answers must be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bottega.compile.parity import relative_error
from models.reference import ReferenceModel, reference_model
from peers.inference import trees
from peers.inference.task import TREES

Inputs = dict[str, np.ndarray]
Run = Callable[[Inputs], Sequence[np.ndarray]]
"""One call: named arrays in, arrays in the model's order out, as a caller in Python has them."""
_POOL_ROWS = 512
_POOL = (2, 64)
"""Fewest and most batches: many small ones, because a processor learns the way of a single row through a tree."""


@dataclass(frozen=True)
class Case:
    """A model at one batch. Its files lie in `folder`, `pool` holds the batches that are asked in turn."""

    model: str
    batch: int
    seed: int
    folder: Path
    pool: tuple[Inputs, ...]

    @cached_property
    def network(self) -> ReferenceModel:
        """The reference network, its weights drawn from the seed."""
        return reference_model(self.model, self.seed)

    @cached_property
    def _exact(self) -> ReferenceModel:
        network = reference_model(self.model, self.seed)
        network.module.double()
        return network

    def error(self, backend: str, answers: Sequence[Sequence[np.ndarray]]) -> float:
        """The largest relative error of the answers to the pool, against float64; infinite for a wrong shape."""
        inputs = {name: np.concatenate([one[name] for one in self.pool]) for name in self.pool[0]}
        outputs = [np.concatenate(pieces) for pieces in zip(*answers, strict=True)]
        if self.model == TREES:
            exact = trees.forest_answer if backend == "sklearn" else trees.booster_answer
            return _error(outputs[0].reshape(-1), exact(self.folder, inputs["features"]).reshape(-1))
        double = {
            name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in inputs.items()
        }
        expected = self._exact.torch(double)
        worst = max(_error(o, e) for o, e in zip(outputs, expected.values(), strict=True) if e.dtype.kind == "f")
        if self.model == "two_tower":
            scores, items = expected["scores"], outputs[1]
            if items.shape != scores.shape or any(len(set(row)) < len(row) for row in items.tolist()):
                return float("inf")
            worst = max(worst, _error(_scores(self._exact, double, items), scores))
        return worst


def make_case(model: str, batch: int, seed: int, folder: Path) -> Case:
    """The case, its batches drawn from the seed."""
    draw = trees.inputs if model == TREES else reference_model(model, seed).inputs
    count = min(max(_POOL_ROWS // batch, _POOL[0]), _POOL[1])
    return Case(model, batch, seed, folder, tuple(draw(batch, seed + 1 + i) for i in range(count)))


def _error(answer: np.ndarray, exact: np.ndarray) -> float:
    if answer.shape != exact.shape:
        return float("inf")
    return relative_error(answer.ravel(), exact.ravel())


def _scores(exact: ReferenceModel, inputs: Inputs, items: np.ndarray) -> np.ndarray:
    """The true scores of the items that were found: where two differ by rounding only, either may come first."""
    module = exact.module
    user, context = (torch.from_numpy(array) for array in inputs.values())
    with torch.inference_mode():
        vector = module.tower(torch.cat([module.user(user), context], dim=1))
        vector = torch.nn.functional.normalize(vector)  # (rows, width)
        found = module.items[torch.from_numpy(items.astype(np.int64))]  # (rows, best, width)
        return torch.einsum("rw,rbw->rb", vector, found).numpy()
