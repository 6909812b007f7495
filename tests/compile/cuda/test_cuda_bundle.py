"""The bundle for a GPU machine: its layout, and its scripts on the CPU, where a rehearsal runs all but the GPU."""

import ctypes
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from bottega.compile.cuda_bundle import LIMIT_MB, Bundled, write_bundle
from bottega.errors import Conflict, InvalidInput

ROWS = 5


def inputs():
    random = np.random.default_rng(8)
    return {"id": random.integers(0, 50, ROWS), "numbers": random.standard_normal((ROWS, 32), np.float32)}


def run(folder, *options):
    """The script as it runs on the other machine: its environment has nothing of this one."""
    command = [sys.executable, folder / "run.py", *options]
    return subprocess.run(command, env={}, cwd="/", capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def rehearsal(small_graph, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "rehearsal"
    write_bundle(out, [Bundled("small", small_graph(), inputs())], buckets=[1, 7], arch="cpu")
    return out


@pytest.fixture(scope="module")
def bundle(toolkit, small_graph, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "gpu"
    write_bundle(out, [Bundled("small", small_graph(), inputs(), b"a program")], buckets=[4], precisions=["fp32"])
    return out


def test_rehearsal_agrees_with_the_reference(rehearsal):
    done = run(rehearsal, "--no-peers")
    assert done.returncode == 0, done.stderr
    head, *rows = map(json.loads, done.stdout.splitlines())
    assert head["models"] == {"small": ["fp32", "fp16"]}
    assert [(row["precision"], row["batch"]) for row in rows] == [("fp32", 1), ("fp32", 7), ("fp16", 1), ("fp16", 7)]
    for row in rows:
        assert row["parity"] and row["end_to_end_us"] > 0
        assert row["max_rel_error"] < (1e-6 if row["precision"] == "fp32" else 5e-3)
        assert row["flops"] == row["batch"] * (32 + 2 * 32 * 64 + 64 + 2 * 64 * 2)


def test_a_wrong_answer_is_found(rehearsal):
    path = rehearsal / "models" / "small" / "samples.npz"
    kept = path.read_bytes()
    with np.load(path) as samples:
        arrays = dict(samples)
    arrays["output:y"] = arrays["output:y"] + 0.1
    np.savez(path, **arrays)
    done = run(rehearsal, "--no-peers")
    path.write_bytes(kept)
    assert done.returncode == 1
    assert not any(json.loads(row)["parity"] for row in done.stdout.splitlines()[1:])


@pytest.mark.slow
def test_an_absent_peer_says_why(rehearsal):
    done = run(rehearsal)
    peers = [row for row in map(json.loads, done.stdout.splitlines()[1:]) if row["backend"] != "bottega"]
    assert {row["backend"] for row in peers} == {"torch_eager", "torch_compiled", "onnxruntime_cuda"}
    assert all(row["absent"] or row["parity"] for row in peers)


def test_layout(bundle):
    packed = bundle.with_name("gpu.tar.xz")
    with tarfile.open(packed) as archive:
        names = {name for name in archive.getnames() if archive.getmember(name).isfile()}
    assert names == {
        *(f"gpu/{name}" for name in ("run.py", "peers.py", "gpu.py", "tvm_abi.py", "bundle.json")),
        *(f"gpu/lib/lib{name}" for name in ("tvm_ffi.so", "tvm_runtime.so", "tvm_runtime_cuda.so", "cudart.so.13")),
        *(f"gpu/models/small/{name}" for name in ("samples.npz", "model.onnx", "torch.pt2")),
        *(f"gpu/models/small/fp32/{name}" for name in ("artefact.json", "weights.npz", "batch_4.so")),
    }
    assert packed.stat().st_size < LIMIT_MB * 1_000_000


def test_without_a_gpu_it_says_so(bundle):
    try:
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("there is an NVIDIA driver here")
    except OSError:
        done = run(bundle)
    assert done.returncode == 2
    assert "No GPU to run on: there is no NVIDIA driver" in done.stderr
    assert done.stdout == ""


def test_a_bundle_is_not_replaced(bundle, small_graph):
    with pytest.raises(Conflict):
        write_bundle(bundle, [Bundled("small", small_graph(), inputs())], buckets=[1])


def test_an_empty_bundle_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no model"):
        write_bundle(tmp_path / "out", [])
