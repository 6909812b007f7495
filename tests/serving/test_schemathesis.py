"""A tester that others wrote, against our OpenAPI page: Schemathesis, in an environment of its own."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bottega.serving.process import running
from bottega.workspace import Workspace

TESTER = "schemathesis==4.32.5"

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)


@pytest.fixture(scope="module")
def tester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command."""
    folder = tmp_path_factory.mktemp("tester")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    command = [folder / "bin" / "python", "-m", "pip", "install", "-q", TESTER]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"{TESTER} cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "schemathesis"


@pytest.mark.slow
def test_schemathesis_finds_nothing(tester: Path, fresh: Callable[[], Workspace], tmp_path: Path) -> None:
    models.put(tmp_path / "models", "simple", models.add_sub())
    with running(fresh(), options=["--repository", str(tmp_path / "models")]) as address:
        asked = subprocess.run(
            [
                *(tester, "run", f"{address.url}/openapi.json"),
                *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
                *("--checks", "response_schema_conformance"),
                *("--max-examples", "25", "--seed", "7", "--no-color"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert asked.returncode == 0, asked.stdout[-5000:] + asked.stderr[-2000:]
