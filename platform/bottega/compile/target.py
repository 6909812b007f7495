"""The machine that an artefact is built for: an architecture level, and the CPU features that it needs.

A level names exactly the instructions that the code may use, so it can be checked before the code is loaded; the name
of a CPU model cannot, because a virtual machine may hide features of its host.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from bottega.errors import InvalidInput

_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"x86-64-v4": _V4, "x86-64-v3": _V3, "x86-64-v2": _V2, "x86-64": frozenset()}
)
"""Levels of the x86-64 psABI, best first, with the features (Linux names) that each one adds to the baseline."""


VNNI = "avx512_vnni"
"""The feature that int8 products need to pay: one instruction multiplies 64 bytes and adds up to int32."""


class Target(msgspec.Struct, frozen=True):
    """What native code was built for: `level` is LLVM's CPU name, `features` must all be present to run it."""

    system: str
    architecture: str
    level: str
    features: tuple[str, ...] = ()


def host() -> Target:
    """The best target of this machine."""
    system, architecture = platform.system().lower(), _architecture()
    if architecture != "x86_64":
        return Target(system, architecture, "generic")
    present = cpu_features()
    level = next(name for name, needed in LEVELS.items() if needed <= present)
    return Target(system, architecture, level, tuple(sorted(LEVELS[level])))


def named(level: str) -> Target:
    """This system with a chosen x86-64 level, for artefacts that are built to be shipped."""
    if level not in LEVELS:
        raise InvalidInput(f"{level!r} is no CPU level.", next_step=f"The levels are {', '.join(LEVELS)}.")
    return Target(platform.system().lower(), "x86_64", level, tuple(sorted(LEVELS[level])))


def for_integers(target: Target) -> Target:
    """The target with AVX512-VNNI where it is this machine's best level and this machine has it."""
    if target.level != "x86-64-v4" or VNNI in target.features or VNNI not in cpu_features():
        return target
    return msgspec.structs.replace(target, features=tuple(sorted({*target.features, VNNI})))


def parse(text: str) -> Target:
    """A target by its name on the command line: `cpu` is this machine, `cpu:x86-64-v3` a level to ship.

    Raises InvalidInput for any other name.
    """
    kind, _, level = text.partition(":")
    if kind != "cpu":
        raise InvalidInput(f"{text!r} is no target.", next_step=f"Give cpu, or cpu: and one of {', '.join(LEVELS)}.")
    return named(level) if level else host()


def misfit(target: Target) -> str:
    """Why this machine cannot run code built for `target`; empty where it can."""
    here = (platform.system().lower(), _architecture())
    if here != (target.system, target.architecture):
        return f"built for {target.system} on {target.architecture}, this is {here[0]} on {here[1]}"
    missing = sorted(set(target.features) - cpu_features())
    return f"built for {target.level}, this CPU lacks {', '.join(missing)}" if missing else ""


def cpu_features() -> frozenset[str]:
    """Features of this CPU as Linux names them; empty where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return frozenset()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _architecture() -> str:
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
