"""The CUDA toolkit: what compiles for an NVIDIA GPU on a machine that has none.

`nvcc` makes machine code for a GPU of any kind. TVM calls it only where its own CUDA runtime loads, and that one wants
the driver (`libcuda.so.1`), which comes with a GPU. Without the driver TVM quietly embeds CUDA *source* instead. So a
library of the driver's name is made here whose functions all answer "no device": enough to load, and to compile.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bottega import toolchain
from bottega.errors import Unsupported

CUDART = "libcudart.so.13"
"""The runtime library that TVM's is linked with."""
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_EXTRA = "pip install 'bottega[cuda]', or install CUDA Toolkit 13 and set CUDA_HOME."


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit: its compiler, and the folder of `libcudart`."""

    nvcc: Path
    libraries: Path

    def environment(self, driver: Path, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with what TVM needs to compile for CUDA, the driver's library from the folder `driver`."""
        return {
            **base,
            "PATH": _path(self.nvcc.parent, base.get("PATH")),
            "LD_LIBRARY_PATH": _path(driver, self.libraries, base.get("LD_LIBRARY_PATH")),
            "TVM_CUDA_COMPILE_MODE": "nvcc",
        }


def find_toolkit() -> Toolkit:
    """The first toolkit found: CUDA_HOME's, the search path's, the machine's, the Python packages'.

    Raises Unsupported where there is none, or no C++ compiler for it.
    """
    for root in _roots():
        libraries = next((f for f in (root / "lib64", root / "lib") if (f / CUDART).exists()), None)
        if (nvcc := root / "bin" / "nvcc").is_file() and libraries:
            if shutil.which("g++") is None:
                raise Unsupported("nvcc needs a C++ compiler, and g++ is not on the path.", next_step="Install g++.")
            return Toolkit(nvcc.resolve(), libraries.resolve())
    raise Unsupported(f"Compiling for CUDA needs nvcc and {CUDART}, and they were not found.", next_step=_EXTRA)


def make_driver(folder: Path) -> None:
    """Make `libcuda.so.1` in `folder`: every function of the driver that TVM's CUDA runtime calls says "no device"."""
    names = sorted(set(re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", tvm_library("libtvm_runtime_cuda.so").read_bytes())))
    source = folder / "driver.c"
    source.write_text("".join(f"int {name.decode()}(void) {{ return {_NO_DEVICE}; }}\n" for name in names), "utf-8")
    compiler = toolchain.compiler()
    if compiler is None:
        raise Unsupported("No C compiler was found.", next_step="Install one, or the Python package ziglang.")
    made = folder / "libcuda.so.1"
    toolchain.run([*compiler, "-shared", "-fPIC", f"-Wl,-soname,{made.name}", "-o", str(made), str(source)], made.name)


def tvm_library(name: str) -> Path:
    """The library `name` of the installed TVM, found without loading it."""
    for package in ("tvm", "tvm_ffi"):
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations if found else None) or ():
            if (path := Path(place) / "lib" / name).is_file():
                return path
    raise Unsupported(f"TVM has no {name} here.", next_step="Its packages for Linux on x86-64 have it.")


def _roots() -> Iterator[Path]:
    if home := os.environ.get("CUDA_HOME"):
        yield Path(home)
    if found := shutil.which("nvcc"):
        yield Path(found).resolve().parent.parent
    yield Path("/usr/local/cuda")
    try:
        files = importlib.metadata.files("nvidia-cuda-nvcc") or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())).parent.parent for file in files if file.name == "nvcc")


def _path(*parts: Path | str | None) -> str:
    return os.pathsep.join(str(part) for part in parts if part)
