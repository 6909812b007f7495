"""An environment of its own for each server's packages: all versions are pinned here, and only here."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_XGBOOST = "xgboost-cpu==3.2.0"
PACKAGES: dict[str, tuple[str, ...]] = {
    "mlserver": ("mlserver==1.7.1", _XGBOOST),
    "bentoml": ("bentoml==1.4.40", _XGBOOST),
    "litserve": ("litserve==0.2.19", _XGBOOST),
    "rayserve": ("ray[serve]==2.60.0", _XGBOOST),
    "mlflow": ("mlflow==3.17.2", _XGBOOST, "uvicorn[standard]==0.54.0"),
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", _XGBOOST),
    "triton": ("nvidia-pytriton==0.7.0",),
}
"""The peers, and what is installed for each."""
INSTALL_S = 900


class NotInstalled(Exception):
    """Why a peer cannot be had here."""


def interpreter(peer: str, cache: Path) -> Path:
    """The Python of the peer's environment, which is made where it is not there. Raises NotInstalled."""
    packages = PACKAGES[peer]
    mark = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = cache / f"{peer}-{mark}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        done.touch()
    return python


def default_cache() -> Path:
    """Where environments are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottega-benchmarks"


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"installing took longer than {INSTALL_S} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise NotInstalled(lines[-1][:300])
