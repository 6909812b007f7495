"""A C compiler and a linker: the machine's own, or those that the `ziglang` package carries."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bottega.errors import Unavailable

NAMES = ("cc", "gcc", "clang")


def compiler() -> list[str] | None:
    """The command of a C compiler, or None where there is none."""
    return _machines_own() or _carried("cc")


def linker() -> list[str] | None:
    """The command of a linker of shared libraries, or None where there is none."""
    return _machines_own() or _carried("ld.lld")


def run(command: Sequence[str], what: str) -> None:
    """Run a compiler or linker. Raises Unavailable with its own words where it fails to make `what`."""
    with tempfile.TemporaryFile() as report:
        if subprocess.run(command, stdout=report, stderr=report, check=False).returncode:
            report.seek(0)
            text = report.read().decode(errors="replace").strip()
            raise Unavailable(f"{Path(command[0]).name} could not make {what}: {text}.")


def _machines_own() -> list[str] | None:
    return next(([found] for name in NAMES if (found := shutil.which(name))), None)


def _carried(tool: str) -> list[str] | None:
    return [sys.executable, "-m", "ziglang", tool] if importlib.util.find_spec("ziglang") else None
