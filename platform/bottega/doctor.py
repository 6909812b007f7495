"""The doctor: what this machine has and lacks, what each thing is for, and how to get it.

It looks at metadata, files and ports only: no library is imported, nothing is written.
"""

import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import Requirement

from bottega import toolchain
from bottega.serving.address import read_server
from bottega.settings import Settings, asset_folder
from bottega.workspace import FORMAT, Workspace

PYTHONS = ((3, 11), (3, 12), (3, 13))
MACHINES = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
RELEASES = {"Linux": (2, 28), "Darwin": (14,)}
"""The oldest glibc, and the oldest macOS, for which every pinned library has a wheel."""
DISK_NEEDED_GIB = 2.0
MEMORY_NEEDED_GIB = 4.0
MODULES = ("numpy", "pandas", "pyarrow", "duckdb", "torch", "xgboost", "mlflow", "tvm", "onnxruntime", "streamlit")
"""The libraries that the stages stand on; find_spec sees them without importing them."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_GIB = 1 << 30

Status = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing`: something needs it. `optional`: it is not here, and only a part goes without."""

    name: str
    status: Status
    found: str
    meaning: str
    next_step: str = ""


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Look at everything, in the order in which one would mend it; what is well needs no next step."""
    findings = (
        python_version(),
        operating_system(),
        packages(),
        modules(),
        tvm_runtime(),
        linker(),
        feature_kernel(),
        cpu(),
        memory(),
        disk(settings.workspace),
        workspace(settings.workspace),
        server_port(settings),
        port("Studio port", settings.host, settings.studio_port, "bottega studio", "BOTTEGA_STUDIO_PORT"),
        data(settings.data),
        git(),
        browser(),
        gpu(),
    )
    return tuple(replace(found, next_step="") if found.status == "ok" else found for found in findings)


def exit_code(findings: tuple[Finding, ...]) -> int:
    """1 where something required is missing, else 0."""
    return int(any(finding.status == "missing" for finding in findings))


def python_version(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Python 3.11 to 3.13: the versions for which every pinned library has a wheel."""
    return Finding(
        "Python",
        "ok" if version in PYTHONS else "missing",
        f"{version[0]}.{version[1]}",
        "The pinned libraries have wheels for Python 3.11 to 3.13.",
        "Make the environment again with another Python: make clean, then make install PYTHON=python3.12.",
    )


def operating_system(
    system: str = platform.system(), machine: str = platform.machine(), release: str | None = None
) -> Finding:
    """Linux on x86-64 or aarch64, macOS on Apple silicon: where every library has a wheel.

    `release` is the version of macOS, or of Linux's glibc ("" where it has another C library).
    """
    release = _release(system) if release is None else release
    fit = (system, machine) in MACHINES and _numbers(release) >= RELEASES[system]
    named = {"Darwin": "macOS", "Linux": "glibc"}.get(system, system)
    step = "Use WSL." if system == "Windows" else "Use such a machine, or a container on one."
    return Finding(
        "operating system",
        "ok" if fit else "missing",
        f"{system} {machine}, {named} {release or 'none'}",
        "The libraries have wheels for Linux (x86-64, aarch64; glibc 2.28) and macOS 14 (Apple silicon).",
        step,
    )


def _release(system: str) -> str:
    if system == "Darwin":
        return platform.mac_ver()[0]
    library, version = platform.libc_ver()
    return version if library == "glibc" else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def packages(requirements: tuple[str, ...] | None = None) -> Finding:
    """Every pinned library is installed in its pinned version."""
    origin, wanted = _requirements() if requirements is None else ("requirements", requirements)
    wrong, right = [], 0
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            right += 1
        else:
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return Finding(
        "packages",
        "missing" if wrong else "ok",
        "; ".join(wrong[:5]) + more if wrong else f"{right} as in {origin}",
        "Some of the pinned versions work only together.",
        "Run make install (after make clean, if it says that all is done).",
    )


def _requirements() -> tuple[str, tuple[str, ...]]:
    """The lock of a checkout; an installed wheel's own requirements otherwise."""
    lock = asset_folder("labs").parent / "requirements.lock"
    if lock.is_file():
        lines = (line.partition("#")[0].strip() for line in lock.read_text("utf-8").splitlines())
        return "requirements.lock", tuple(line for line in lines if line)
    return "the package's requirements", tuple(importlib.metadata.requires("bottega") or ())


def modules(names: tuple[str, ...] = MODULES) -> Finding:
    """The libraries are found on Python's path, and nothing of the repository hides one."""
    lost = [name for name in names if importlib.util.find_spec(name) is None]
    hiding = importlib.util.find_spec("datasets")
    places = (hiding.submodule_search_locations or ()) if hiding else ()
    if asset_folder("datasets") in [Path(place).resolve() for place in places]:
        lost.append("the repository's root is on Python's path")
    return Finding(
        "import path",
        "missing" if lost else "ok",
        ", ".join(lost) if lost else f"{len(names)} libraries found",
        "Each stage imports its library when it starts.",
        "Run make install; unset PYTHONPATH and set PYTHONSAFEPATH=1.",
    )


def tvm_runtime() -> Finding:
    """The small library that runs compiled models; the compiler is another file."""
    spec = importlib.util.find_spec("tvm")
    folders = [Path(folder) / "lib" for folder in (spec.submodule_search_locations or ())] if spec else []
    found = [path for folder in folders for path in sorted(folder.glob("libtvm_runtime.*"))]
    size = f"{found[0].name}, {found[0].stat().st_size / 1e6:.1f} MB" if found else "no libtvm_runtime"
    return Finding(
        "TVM runtime",
        "ok" if found else "missing",
        size,
        "Compiled models run in it; the server loads it and not the compiler.",
        "Run make install.",
    )


def feature_kernel() -> Finding:
    """The compiled kernel of the online store; numpy stands in where it is not, with the same values."""
    path = toolchain.cached_library(Path(__file__).parent / "features" / "kernel.c")
    return Finding(
        "feature kernel",
        "ok" if path else "optional",
        path.name if path else "not built",
        "Reads of the online store; without it numpy computes the same values, slower.",
        "Run make install: it is built by a C compiler, or by the package ziglang.",
    )


def linker(which: Callable[[str], str | None] = shutil.which) -> Finding:
    """Something that links a compiled model into a shared library."""
    if importlib.util.find_spec("ziglang") is not None:
        found = "ziglang"
    else:
        found = next((path for name in ("cc", "clang", "gcc") if (path := which(name))), "")
    return Finding(
        "linker",
        "ok" if found else "missing",
        found or "none",
        "The compile step links each model into a shared library.",
        "On Linux run make install, which brings ziglang; on macOS run xcode-select --install.",
    )


def cpu() -> Finding:
    """The vector instructions for which models are compiled here."""
    system, machine = platform.system(), platform.machine()
    flags: set[str] = set()
    if system == "Linux" and (info := Path("/proc/cpuinfo")).exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))]
        flags = set(lines[0].partition(":")[2].split()) if lines else set()
    wide: list[str] = [name for name in ("avx512f", "avx2", "fma", "asimd", "sve") if name in flags]
    if (system, machine) == ("Darwin", "arm64"):
        wide = ["neon"]
    return Finding(
        "CPU",
        "ok" if wide else "optional",
        f"{os.cpu_count()} cores, {', '.join(wide) if wide else 'no wide vectors'}",
        "Models are compiled for this machine's vector instructions; without AVX2 or NEON they run slower.",
        "Nothing to install: figures from this machine are only comparable with themselves.",
    )


def memory() -> Finding:
    """Memory of the machine, or what the container may use of it."""
    total = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text().strip()).isdecimal():
            total = min(total, float(text))
    return Finding(
        "memory",
        "ok" if total >= MEMORY_NEEDED_GIB * _GIB else "missing",
        f"{total / _GIB:.1f} GiB",
        f"Training, compiling and serving side by side ask for {MEMORY_NEEDED_GIB:g} GiB.",
        "Give the container or virtual machine more memory.",
    )


def disk(folder: Path) -> Finding:
    """Space where the workspace lies."""
    free = shutil.disk_usage(_existing(folder)).free
    return Finding(
        "disk space",
        "ok" if free >= DISK_NEEDED_GIB * _GIB else "missing",
        f"{free / _GIB:.1f} GiB free",
        f"A workspace with a few model versions asks for {DISK_NEEDED_GIB:g} GiB.",
        "Free some space, or choose another place with --workspace.",
    )


def workspace(folder: Path) -> Finding:
    """The workspace can be written, and this version knows its format."""
    meaning = "The one folder that holds everything a run writes."
    here, marker = _existing(folder), folder / "workspace.json"
    if folder.exists() and not folder.is_dir():
        return Finding("workspace", "missing", f"{folder} is a file", meaning, "Name a folder with --workspace.")
    if not os.access(here, os.W_OK | os.X_OK):
        return Finding("workspace", "missing", f"{here} cannot be written", meaning, "Choose another with --workspace.")
    if not marker.exists():
        return Finding("workspace", "ok", f"{folder}, made by the first command", meaning)
    try:
        found = msgspec.json.decode(marker.read_bytes(), type=dict[str, int])["format"]
    except (msgspec.MsgspecError, KeyError):
        step = f'Restore it, or write {{"format": {FORMAT}}} into it.'
        return Finding("workspace", "missing", f"{marker} is damaged", meaning, step)
    if found > FORMAT:
        step = "Update Bottega, or choose another folder with --workspace."
        return Finding("workspace", "missing", f"{folder} is of format {found}, newer than {FORMAT}", meaning, step)
    return Finding("workspace", "ok", f"{folder}, format {found}", meaning)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def server_port(settings: Settings) -> Finding:
    """The server's port is free, or this workspace's server has it."""
    running = read_server(Workspace(settings.workspace))
    if running is not None and running.port == settings.http_port:
        return Finding("server port", "ok", f"bottega serve runs on {running.url}", "bottega serve listens on it.")
    return port("server port", settings.host, settings.http_port, "bottega serve", "BOTTEGA_HTTP_PORT")


def port(name: str, host: str, number: int, command: str, variable: str) -> Finding:
    """A port that a command of ours wants is free."""
    meaning = f"{command} listens on it."
    step = f"End what listens there (it may be {command} itself), or choose another port with {variable}."
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return Finding(name, "missing", f"{host}:{number}: {error.strerror}", meaning, step)
    return Finding(name, "ok", f"{host}:{number} is free", meaning)


def data(folder: Path | None) -> Finding:
    """The folder with real datasets, where one is named."""
    meaning = "Real datasets; without them the city simulator makes the trips."
    if folder is None:
        step = "Set it to a folder that holds one folder for each dataset, or run bottega data get."
        return Finding("BOTTEGA_DATA", "optional", "not set", meaning, step)
    if not folder.is_dir():
        step = "Correct it, or unset it to use the simulator."
        return Finding("BOTTEGA_DATA", "missing", f"{folder} is no folder", meaning, step)
    known = sorted(path.parent.name for path in asset_folder("datasets").glob("*/dataset.toml"))
    held = [name for name in known if (folder / name).is_dir()]
    if not held:
        step = f"It should hold a folder for each dataset: {', '.join(known)}."
        return Finding("BOTTEGA_DATA", "missing", f"{folder} holds no dataset of the catalogue", meaning, step)
    return Finding("BOTTEGA_DATA", "ok", f"{folder}: {', '.join(held)}", meaning)


def git() -> Finding:
    """Runs remember the commit of the code that made them."""
    found = shutil.which("git")
    return Finding(
        "git",
        "ok" if found else "optional",
        found or "not found",
        "Runs record the commit that made them; without git they go without.",
        "Install git with the system's package manager.",
    )


def browser(which: Callable[[str], str | None] = shutil.which) -> Finding:
    """A browser for the Studio's tests."""
    mac = Path("/Applications/Chromium.app/Contents/MacOS/Chromium")
    found = next((path for name in BROWSERS if (path := which(name))), str(mac) if mac.exists() else "")
    return Finding(
        "chromium",
        "ok" if found else "optional",
        found or "not found",
        "Only the Studio's browser tests use it (make test-slow); they are skipped without.",
        "On Debian: apt-get install chromium. On macOS: brew install --cask chromium.",
    )


@functools.cache
def gpu() -> Finding:
    """An NVIDIA GPU; everything here runs without."""
    found = "none"
    if command := shutil.which("nvidia-smi"):
        try:
            listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=10, check=False)
            found = "; ".join(re.findall(r"^GPU \d+: (.*?)(?: \(UUID|$)", listed.stdout, re.M)) or "none answers"
        except (OSError, subprocess.TimeoutExpired):
            found = "nvidia-smi does not answer"
    return Finding(
        "GPU",
        "optional" if found.startswith("n") else "ok",
        found,
        "Nothing needs one: all models are compiled for the CPU.",
        "With an NVIDIA card and its driver, install the package's extra named gpu.",
    )
