"""Native code: a module of TIR functions becomes one shared library, by LLVM and a linker."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tvm

from bottega.compile.target import Target
from bottega.errors import Unavailable


def llvm_target(target: Target) -> tvm.target.Target:
    """TVM's name of a target."""
    options: dict[str, object] = {"kind": "llvm", "mcpu": target.level}
    if target.level == "x86-64-v4":
        options["mattr"] = ["-prefer-256-bit"]
    return tvm.target.Target(options)


def build(module: tvm.IRModule, target: Target, path: Path) -> None:
    """Compile every function of `module` into the library `path`."""
    executable = tvm.compile(module, target=llvm_target(target))
    executable.export_library(str(path), fcompile=_link)


def _link(path: str, objects: list[str], **_: object) -> None:
    """Link object files into a shared library by the first C compiler found; the `ziglang` package carries one."""
    command = [*_linker(), "-shared", "-o", path, *objects]
    with tempfile.TemporaryFile() as report:
        if subprocess.run(command, stdout=report, stderr=report, check=False).returncode:
            report.seek(0)
            text = report.read().decode(errors="replace").strip()
            raise Unavailable(f"{command[0]} could not link {path}: {text}.")


def _linker() -> list[str]:
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    try:
        import ziglang  # noqa: F401
    except ImportError:
        raise Unavailable(
            "No linker was found.", next_step="Install a C compiler, or the Python package ziglang."
        ) from None
    return [sys.executable, "-m", "ziglang", "ld.lld"]
