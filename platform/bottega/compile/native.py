"""Native code: a module of TIR functions becomes one shared library, by LLVM and a linker."""

from pathlib import Path

import tvm

from bottega import toolchain
from bottega.compile.target import VNNI, Target
from bottega.errors import Unavailable

_WIDE = ("-prefer-256-bit", "+prefer-no-scatter")
"""Whole registers; and no scattered stores, which LLVM's loop vectorizer gets wrong (the tests of Tile found it)."""


def llvm_target(target: Target) -> tvm.target.Target:
    """TVM's name of a target."""
    options: dict[str, object] = {"kind": "llvm", "mcpu": target.level}
    if target.level == "x86-64-v4":
        options["mattr"] = [*_WIDE, *(["+avx512vnni"] if VNNI in target.features else [])]
    return tvm.target.Target(options)


def build(module: tvm.IRModule, target: Target, path: Path) -> None:
    """Compile every function of `module` into the library `path`."""
    executable = tvm.compile(module, target=llvm_target(target))
    executable.export_library(str(path), fcompile=_link)


def _link(path: str, objects: list[str], **_: object) -> None:
    """Link object files into a shared library by the first C compiler found; the `ziglang` package carries one."""
    linker = toolchain.linker()
    if linker is None:
        raise Unavailable("No linker was found.", next_step="Install a C compiler, or the Python package ziglang.")
    toolchain.run([*linker, "-shared", "-o", path, *objects], path)
