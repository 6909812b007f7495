"""Export of torch modules: ONNX Runtime answers as torch does, for any batch."""

import numpy as np
import pytest
import torch
from torch import nn

from bottega.errors import InvalidInput
from bottega.training.export import export_torch
from bottega.training.reference import onnx_session


class Scorer(nn.Module):
    """Two inputs of a batch, one of none, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 1))

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor, scale: torch.Tensor):
        """(batch, 2) ids, (batch, 4) numbers, (4,) scale to (batch,) and (batch, 8)."""
        known = self.table(ids).sum(1)
        return self.layers(torch.cat([known, numbers * scale], 1)).squeeze(1), known


def inputs(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {
        "ids": random.integers(0, 30, (rows, 2)),
        "numbers": random.standard_normal((rows, 4)).astype(np.float32),
        "scale": random.standard_normal(4).astype(np.float32),
    }


def test_onnx_answers_as_torch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Scorer()
    content = export_torch(module, inputs(2), ["score", "known"], whole=["scale"])
    assert module.training
    session = onnx_session(content)
    assert [output.name for output in session.get_outputs()] == ["score", "known"]
    module.eval()
    for rows in (1, 2, 17):
        given = inputs(rows)
        with torch.inference_mode():
            expected = module(*map(torch.from_numpy, given.values()))
        for answer, right in zip(session.run(None, given), expected, strict=True):
            np.testing.assert_allclose(answer, right.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_examples_that_do_not_show_the_batch(rows: int) -> None:
    with pytest.raises(InvalidInput, match=r"'ids' has shape.*two rows"):
        export_torch(Scorer(), inputs(rows), ["score", "known"], whole=["scale"])
