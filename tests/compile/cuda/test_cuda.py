"""Compiling for a GPU on a machine without one: what is in the libraries, and what is refused."""

import os
import subprocess

import numpy as np
import pytest

from bottega.compile import cuda_toolkit
from bottega.compile.cubin import architectures, require_cubin
from bottega.compile.cuda import build_cuda
from bottega.compile.cuda_artifact import WEIGHTS
from bottega.errors import Conflict, IntegrityError, InvalidInput, Unsupported


@pytest.fixture(scope="module")
def built(toolkit, small_graph, tmp_path_factory):
    before = dict(os.environ)
    out = tmp_path_factory.mktemp("cuda") / "small"
    manifest = build_cuda(small_graph(), [16, 1], "fp32", "sm_90", out)
    assert dict(os.environ) == before
    return out, manifest


def test_libraries_hold_machine_code_for_the_gpu(built):
    out, manifest = built
    assert [bucket.batch for bucket in manifest.buckets] == [1, 16]
    for bucket in manifest.buckets:
        assert architectures(out / bucket.library) == ("sm_90",)
        assert b"__global__" not in (out / bucket.library).read_bytes()
        assert bucket.kernels >= 3


def test_another_architecture_is_noticed(built):
    out, manifest = built
    with pytest.raises(IntegrityError, match="machine code for sm_90, not for sm_80"):
        require_cubin(out / manifest.buckets[0].library, "sm_80")


def test_weights_are_kept_once_for_all_batches(built):
    out, manifest = built
    with np.load(out / WEIGHTS) as weights:
        assert {name for bucket in manifest.buckets for name in bucket.weights} == set(weights.files)
        sizes = sorted(weights[name].size for name in weights.files)
    assert set(sizes) <= {50 * 32, 32 * 64, 64 * 2} and len(sizes) == len(set(sizes))


def test_interface_is_in_the_manifest(built):
    _, manifest = built
    assert [(port.name, port.dtype, port.shape) for port in manifest.inputs] == [
        ("id", "int64", (-1,)),
        ("numbers", "float32", (-1, 32)),
    ]
    assert [(port.name, port.shape) for port in manifest.outputs] == [("y", (-1, 2))]


def test_an_artefact_is_not_replaced(built, small_graph):
    with pytest.raises(Conflict):
        build_cuda(small_graph(), [1], "fp32", "sm_90", built[0])


@pytest.mark.parametrize("arch", ["sm_80", "sm_100"])
def test_architecture_is_read_from_what_nvcc_makes(arch, toolkit, tmp_path):
    source, made = tmp_path / "one.cu", tmp_path / "one.cubin"
    source.write_text("__global__ void one(int* p) { *p = 1; }")
    subprocess.run([toolkit.nvcc, "--cubin", "-arch", arch, "-o", made, source], check=True)
    assert architectures(made) == (arch,)


def test_cuda_source_is_no_machine_code(tmp_path):
    library = tmp_path / "kernels.so"
    library.write_bytes(b'\x7fELF\x02\x01 extern "C" __global__ void f() {}')
    with pytest.raises(IntegrityError, match=r"no GPU, not for sm_90\. It holds CUDA source instead"):
        require_cubin(library, "sm_90")


def test_without_a_toolkit_the_extra_is_named(small_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_toolkit, "_roots", lambda: iter([tmp_path]))
    with pytest.raises(Unsupported, match=r"nvcc and libcudart.*bottega\[cuda\]"):
        build_cuda(small_graph(), [1], "fp32", "sm_90", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("buckets", "precision", "arch", "words"),
    [
        ([], "fp32", "sm_90", "buckets are"),
        ([0, 4], "fp32", "sm_90", "buckets are"),
        ([1], "fp8", "sm_90", "precision 'fp8'"),
        ([1], "fp32", "sm_13", "'sm_13' is no GPU"),
    ],
)
def test_wrong_orders_are_refused(buckets, precision, arch, words, small_graph, tmp_path):
    with pytest.raises(InvalidInput, match=words):
        build_cuda(small_graph(), buckets, precision, arch, tmp_path / "out")


def test_errors_of_the_worker_are_raised_here(small_graph, tmp_path):
    with pytest.raises(Unsupported, match="No input has a batch axis"):
        build_cuda(small_graph(first=4), [1], "fp32", "cpu", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
