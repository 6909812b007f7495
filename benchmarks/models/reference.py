"""The reference networks by name, with inputs drawn for them, as torch modules and as ONNX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bottega.training.export import export_torch
from models.cnn import PIXELS, Cnn
from models.deepeta import IDS, NUMBERS, ROWS_PER_ID, DeepEta
from models.two_tower import CONTEXT, USERS, TwoTower

NAMES = ("deepeta", "two_tower", "cnn")


@dataclass(frozen=True)
class ReferenceModel:
    """A network with drawn weights; `inputs(rows, seed)` draws what it is asked."""

    module: nn.Module
    outputs: tuple[str, ...]
    inputs: Callable[[int, int], dict[str, np.ndarray]]

    def torch(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The framework's own answer."""
        with torch.inference_mode():
            found = self.module(*map(torch.from_numpy, inputs.values()))
        answers = found if isinstance(found, tuple) else (found,)
        return {name: answer.numpy() for name, answer in zip(self.outputs, answers, strict=True)}

    def onnx(self) -> bytes:
        """The network as ONNX, of any batch."""
        return export_torch(self.module, self.inputs(2, 0), self.outputs)


def reference_model(name: str, seed: int = 0) -> ReferenceModel:
    """One of `NAMES`, its weights drawn from `seed`."""
    make, outputs, inputs = _MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    return ReferenceModel(module.eval(), outputs, inputs)


def _trips(rows: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"ids": random.integers(0, ROWS_PER_ID, (rows, IDS)), "numbers": _normal(random, rows, NUMBERS)}


def _users(rows: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"user": random.integers(0, USERS, rows), "context": _normal(random, rows, CONTEXT)}


def _pictures(rows: int, seed: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).random((rows, 3, PIXELS, PIXELS), np.float32)}


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


_MODELS: Mapping[str, tuple[type[nn.Module], tuple[str, ...], Callable[[int, int], dict[str, np.ndarray]]]] = {
    "deepeta": (DeepEta, ("eta",), _trips),
    "two_tower": (TwoTower, ("scores", "items"), _users),
    "cnn": (Cnn, ("logits",), _pictures),
}
