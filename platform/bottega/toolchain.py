"""A C compiler and a linker: the machine's own, or those that the `ziglang` package carries.

C sources of Bottega are compiled at first use and kept in a cache folder of the user.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bottega.errors import StorageError, Unavailable

NAMES = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing")
"""No fused multiply-add: the same operations in the same order as numpy's."""


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


def shared_library(source: Path, folder: Path | None = None) -> Path | None:
    """The library of a C source in the cache folder, compiled first where it is not there; None without a compiler.

    Two processes may compile at once: each writes a file of its own and renames it. Raises Unavailable where the
    compiler fails, StorageError where the folder cannot be written.
    """
    command, folder = compiler(), folder or cache_folder()
    if command is None:
        return None
    path = _library_path(command, source, folder)
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / path.name
            run([*command, *FLAGS, "-o", str(made), str(source), "-lm"], f"the library of {source.name}")
            made.replace(path)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error}.", next_step="Set XDG_CACHE_HOME.") from error
    return path


def cached_library(source: Path, folder: Path | None = None) -> Path | None:
    """The library of a C source where it is compiled already, else None."""
    command = compiler()
    path = None if command is None else _library_path(command, source, folder or cache_folder())
    return path if path is not None and path.exists() else None


def cache_folder() -> Path:
    """Where libraries are kept: below XDG_CACHE_HOME, or `.cache` in the user's home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottega"


def _library_path(command: Sequence[str], source: Path, folder: Path) -> Path:
    """Named by the source's content, the compiler and the machine."""
    made_of = [source.read_bytes(), " ".join([*command, *FLAGS]).encode(), platform.machine().encode()]
    return folder / f"{source.stem}-{hashlib.sha256(bytes(1).join(made_of)).hexdigest()[:16]}.so"


def _machines_own() -> list[str] | None:
    return next(([found] for name in NAMES if (found := shutil.which(name))), None)


def _carried(tool: str) -> list[str] | None:
    return [sys.executable, "-m", "ziglang", tool] if importlib.util.find_spec("ziglang") else None
