"""The reference networks: as large as they say, and the same in torch and in ONNX."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WEIGHTS = {"deepeta": 2_096_385, "two_tower": 1_938_624, "cnn": 97_938}


@pytest.mark.parametrize("name", WEIGHTS)
def test_torch_and_onnx_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from models.reference import reference_model

    model = reference_model(name)
    assert sum(weights.numel() for weights in model.module.parameters()) == WEIGHTS[name]
    session = onnxruntime.InferenceSession(model.onnx(), providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        inputs = model.inputs(rows, 3)
        expected = model.torch(inputs)
        answers = dict(zip(model.outputs, session.run(None, inputs), strict=True))
        for output in model.outputs:
            np.testing.assert_allclose(answers[output], expected[output], rtol=1e-4, atol=1e-5)
