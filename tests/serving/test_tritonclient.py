"""A client that others wrote, against our server: tritonclient, in an environment of its own.

It wants an older protobuf than ours and brings its own copy of the protocol, so it does not share our environment.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto

from bottega.serving.process import running
from bottega.workspace import Workspace

HERE = Path(__file__).parent
CLIENT = "tritonclient[http,grpc]==2.73.0"

_spec = importlib.util.spec_from_file_location("plain_models", HERE / "plain_models.py")
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has tritonclient."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", CLIENT], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        pytest.skip(f"{CLIENT} cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
def test_every_call_of_tritonclient_that_needs_no_shared_memory(python: Path, tmp_path: Path) -> None:
    root = tmp_path / "models"
    models.put(root, "simple", models.add_sub(), 1, "max_batch_size: 8")
    models.put(root, "text", models.add_sub_text())
    models.put(root, "identity", models.identity(TensorProto.STRING))
    options = ["--repository", str(root), "--model-control", "explicit", "--grpc-port", "0"]
    with running(Workspace.open(tmp_path / "workspace"), options=options) as address:
        command = [python, HERE / "tritonclient_calls.py", str(address.port), str(address.grpc_port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
