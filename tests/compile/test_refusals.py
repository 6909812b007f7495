"""Operators that would be compiled to something else are refused, and their neighbours that are right are not."""

import numpy as np
import pytest
from onnx import helper, numpy_helper, parser

from bottega.compile.lower import import_onnx, read_onnx
from bottega.errors import Unsupported


def imported(text: str, **weights: np.ndarray) -> None:
    graph = parser.parse_graph(text)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=13)
    import_onnx(read_onnx(built.SerializeToString()))


NORM = "g (float[2, 3, 4, 4] x) => (float[2, 3, 4, 4] y{more}) <float[3] a = {{1, 1, 1}}> {{ y{more_names} = \
BatchNormalization <training_mode: int = {mode}> (x, a, a, a, a) }}"
PICTURE = "g (float[1, 4, 4, 4] x) => (float[a, b, c, d] y) "


@pytest.mark.parametrize(
    ("refused", "allowed", "reason"),
    [
        (
            NORM.format(mode=1, more=", float[3] m, float[3] v", more_names=", m, v"),
            NORM.format(mode=0, more="", more_names=""),
            "training_mode",
        ),
        (
            "g (uint32[4] x, uint32[4] s) => (uint32[4] y) { y = BitShift <direction = 'LEFT'> (x, s) }",
            "g (uint32[4] x) => (uint32[4] y) <uint32[1] s = {31}> { y = BitShift <direction = 'LEFT'> (x, s) }",
            "a shift that is no constant",
        ),
        (
            "g (int32[4] x) => (int32[4] y) <int32[1] s = {32}> { y = BitShift <direction = 'LEFT'> (x, s) }",
            "g (int32[4] x) => (int32[4] y) <int32[1] s = {0}> { y = BitShift <direction = 'LEFT'> (x, s) }",
            "a shift outside 0 to 31",
        ),
        (
            PICTURE + "{ y = ConvTranspose <output_shape = [8, 8], strides = [2, 2]> (x, w) }",
            PICTURE + "{ y = ConvTranspose <strides = [2, 2]> (x, w) }",
            "output_shape",
        ),
        (
            "g (float[4] x) => (float[4] y) <float r = {0.5}, bool t = {1}> { y = Dropout(x, r, t) }",
            "g (float[4] x) => (float[4] y) <float r = {0.5}, bool t = {0}> { y = Dropout(x, r, t) }",
            "training_mode",
        ),
        (
            "g (float[4] x) => (bool[4] y) { y = IsInf <detect_negative = 0> (x) }",
            "g (float[4] x) => (bool[4] y) { y = IsInf (x) }",
            "one sign only",
        ),
        (
            "g (float[4] x, float[4] m) => (float[4] y) { y = Mod (x, m) }",
            "g (float[4] x, float[4] m) => (float[4] y) { y = Mod <fmod = 1> (x, m) }",
            "without fmod",
        ),
        (
            PICTURE + "<float[4] s = {1, 1, 0.6, 0.6}> { y = Resize <mode = 'linear'> (x, '', s) }",
            PICTURE + "<float[4] s = {1, 1, 0.5, 2}> { y = Resize <mode = 'linear'> (x, '', s) }",
            "scales that give no whole size",
        ),
        (
            PICTURE + "<float[4] s = {1, 1, 0.5, 0.5}> { y = Resize <mode = 'linear', antialias = 1> (x, '', s) }",
            PICTURE + "<float[4] s = {1, 1, 0.5, 0.5}> { y = Resize <mode = 'linear', antialias = 0> (x, '', s) }",
            "antialias",
        ),
        (
            PICTURE + "{ y = SpaceToDepth <blocksize = 2, mode = 'CRD'> (x) }",
            PICTURE + "{ y = SpaceToDepth <blocksize = 2, mode = 'DCR'> (x) }",
            "the mode CRD",
        ),
    ],
)
def test_a_setting_that_would_be_ignored(refused: str, allowed: str, reason: str) -> None:
    weights = {"w": np.ones((4, 2, 3, 3), np.float32)} if "ConvTranspose" in refused else {}
    refused, allowed = (text.replace("'", '"').replace('""', "") for text in (refused, allowed))
    with pytest.raises(Unsupported, match=reason):
        imported(refused, **weights)
    imported(allowed, **weights)
