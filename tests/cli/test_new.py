"""A scaffolded use case is a use case: it keeps every contract, and is found by its folder alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from bottega.cli.new import write_usecase
from bottega.errors import Conflict, InvalidInput

ROOT = Path(__file__).parents[2]


@pytest.fixture
def usecases(tmp_path: Path) -> Path:
    """A copy of the package without its use cases."""
    folder = tmp_path / "apps" / "usecases"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text((ROOT / "apps" / "usecases" / "__init__.py").read_text())
    return folder


def test_the_files_are_in_the_house_style(usecases):
    place = write_usecase(usecases, "fare", "What will this trip cost?")
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md", "__init__.py", "features.py", "serve.py", "train.py", "usecase.py",
    ]  # fmt: skip
    config = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), str(place)]
    for command in (["check"], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *config], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["Fare", "9lives", "a", "../x", "class", "a" * 41, "fa re", ""])
def test_a_name_that_is_no_modules_is_refused(usecases, name):
    with pytest.raises(InvalidInput, match="is no name for a use case"):
        write_usecase(usecases, name, "t")


def test_nothing_is_overwritten(usecases):
    write_usecase(usecases, "fare", "t")
    with pytest.raises(Conflict, match="exists"):
        write_usecase(usecases, "fare", "t")
    with pytest.raises(InvalidInput, match="title"):
        write_usecase(usecases, "fare2", 'a "quoted" one')


@pytest.mark.slow
def test_it_keeps_every_contract(usecases, monkeypatch):
    assert importlib.util.find_spec("usecases.fare") is None
    write_usecase(usecases, "fare", "What will this trip cost?")
    path = f"{usecases.parent}:{ROOT / 'platform'}"
    monkeypatch.setenv("PYTHONPATH", path)
    contracts = str(ROOT / "tests" / "usecases" / "test_contracts.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", contracts, "-k", "fare or light"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "7 passed" in ran.stdout
