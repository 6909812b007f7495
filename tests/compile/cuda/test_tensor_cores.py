"""Tensor cores: which products get them, and that what is made of them compiles for the GPU."""

import pytest

from bottega.compile.cubin import architectures
from bottega.compile.cuda import build_cuda

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(toolkit, small_graph, tmp_path_factory):
    out = tmp_path_factory.mktemp("cuda") / "half"
    return out, build_cuda(small_graph(), [1, 40], "fp16", "sm_90", out)


def test_products_with_sides_of_sixteen_use_them(built):
    """At 40 rows the first layer, 40 x 32 x 64; never the second, which has two columns, and nothing at one row."""
    _, manifest = built
    assert [bucket.tensor_cores for bucket in manifest.buckets] == [0, 1]


def test_what_is_made_is_machine_code(built):
    out, manifest = built
    assert [architectures(out / bucket.library) for bucket in manifest.buckets] == [("sm_90",), ("sm_90",)]


def test_weights_are_in_half_precision(built):
    out, manifest = built
    assert manifest.inputs[1].dtype == manifest.outputs[0].dtype == "float32"
    assert (out / "weights.npz").stat().st_size < 4 * (50 * 32 + 32 * 64 + 64 * 2)
