"""The repository as a newcomer meets it: packaging traps, documents, containers, hooks."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/FEATURES.md",
    "docs/INFERENCE.md",
    "docs/INGESTION.md",
    "docs/RANKING.md",
)
HEAVY = (
    "torch",
    "xgboost",
    "sklearn",
    "mlflow",
    "evidently",
    "tvm",
    "tvm_ffi",
    "onnxruntime",
    "pandas",
    "duckdb",
    "streamlit",
)


def python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in the repository's root, as a person would."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BOTTEGA_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**kept, "PYTHONSAFEPATH": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_folders_with_names_of_packages_are_no_packages() -> None:
    for folder in ("platform", "datasets", "apps", "labs", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_the_root_hides_nothing() -> None:
    ran = python(
        "import platform, uuid, importlib.util as util\n"
        "assert platform.system(), platform\n"
        "assert uuid.uuid4()\n"
        "import bottega, usecases, studio\n"
        "print(util.find_spec('datasets'))"
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "None"), ran.stderr


def test_importing_bottega_imports_no_heavy_library() -> None:
    modules = ["bottega", "bottega.cli", "bottega.doctor", "bottega.lab", "bottega.settings", "bottega.workspace"]
    ran = python(f"import sys, {', '.join(modules)}\nprint(sorted(set({HEAVY}) & set(sys.modules)))")
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def blocks(document: str) -> list[str]:
    """The commands in a document's blocks that are marked `sh`, one a line."""
    text = (ROOT / document).read_text("utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.M))
    named = {word for document in DOCUMENTS for word in re.findall(r"make ([a-z-]+)", _code(document))}
    assert {"demo", "test", "test-slow", "install"} <= named <= targets


def test_every_line_of_the_blocks_is_of_a_known_kind() -> None:
    for document in DOCUMENTS:
        for line in blocks(document):
            assert line.startswith(("make ", ".venv/bin/bottega ", ".venv/bin/pre-commit ")), line


def _code(document: str) -> str:
    """What a document says in code: its blocks and its inline code."""
    text = (ROOT / document).read_text("utf-8")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.S))


def commands() -> list[str]:
    """Every `bottega ...` that a document or a lesson names, without arguments and options."""
    texts = [_code(document) for document in DOCUMENTS]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "labs").glob("*/lesson.py"))]
    found = re.findall(r"\bbottega ((?:[a-z-]+ ?)+)", "\n".join(texts))
    groups = ("data", "features", "registry", "deploy", "monitor", "lab", "rides")
    named = {" ".join(words.split()[: 2 if words.split()[0] in groups else 1]) for words in found}
    return sorted(name for name in named if name != "lab and")


@pytest.mark.parametrize("command", commands())
def test_commands_that_the_documents_name_exist(command: str) -> None:
    ran = subprocess.run(
        [BIN / "bottega", *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "Usage: bottega" in ran.stdout


def test_readme_lists_every_command() -> None:
    ran = subprocess.run([BIN / "bottega", "--help"], capture_output=True, text=True, timeout=60, check=True)
    offered = set(re.findall(r"^  ([a-z]+)  ", ran.stdout.partition("Commands:")[2], re.M))
    assert offered == set(re.findall(r"^\| `bottega ([a-z]+)` \|", (ROOT / "README.md").read_text("utf-8"), re.M))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_the_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = re.findall(r"`((?:platform|apps|datasets|labs|tests|docs|benchmarks)/[\w./*]*)`", text)
    linked = [(Path(document).parent / target).as_posix() for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)]
    for path in (path for path in (*named, *linked) if "NN_" not in path):
        found = list(ROOT.glob(path.rstrip("/"))) if "*" in path else [ROOT / path]
        assert found, path
        assert all(each.exists() for each in found), path


def test_no_document_names_a_package_host() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    hosts = re.compile(r"(pypi|pythonhosted|download\.pytorch|mcr\.microsoft|ghcr)\.(org|com|io)")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".md", ".toml", ".txt", ".lock", ".yml", ".yaml", ".json", ".in", "") and path.is_file():
            assert not hosts.search(path.read_text("utf-8", errors="replace")), name


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_lock_pins_every_requirement_and_names_no_local_build() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = {}
    for line in filter(None, lines):
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        assert "+" not in pin.version, line
        pinned[canonicalize_name(requirement.name)] = pin.version
    for line in (ROOT / "requirements.in").read_text("utf-8").splitlines():
        if text := line.partition("#")[0].strip():
            requirement = Requirement(text)
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_devcontainer_runs_the_two_commands() -> None:
    declared = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert declared["postCreateCommand"] == "make demo ARGS=--no-studio && make test"


def test_hooks_run_from_the_environment() -> None:
    declared = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repo in declared["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in declared["repos"]} == {"local"}
    assert {hook["entry"].split()[0] for hook in hooks} == {
        f".venv/bin/{tool}" for tool in ("ruff", "mypy", "lint-imports")
    }
    for hook in hooks:
        assert shutil.which(BIN / Path(hook["entry"].split()[0]).name)
    subprocess.run([BIN / "pre-commit", "validate-config"], cwd=ROOT, check=True, timeout=60)


def compose() -> dict[str, Any]:
    """The parsed docker-compose.yml."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))


def test_compose_services_share_the_workspace_and_stay_on_this_machine() -> None:
    services = compose()["services"]
    assert set(services) == {"server", "studio", "mlflow"}
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    for service in services.values():
        assert service["volumes"] == ["workspace:/workspace"]
        assert service["command"][0] == "bottega"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "BOTTEGA_WORKSPACE=/workspace" in dockerfile
    assert "make install" in dockerfile


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "path"), [("server", "/v2/health/live"), ("studio", "/_stcore/health"), ("mlflow", "/health")]
)
def test_compose_commands_run_without_docker(service: str, path: str, tmp_path: Path) -> None:
    port = free_port()
    command = [*compose()["services"][service]["command"], "--port", str(port)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BOTTEGA_")}
    own = {"PYTHONSAFEPATH": "1", "BOTTEGA_TOKEN": "secret", "BOTTEGA_WORKSPACE": str(tmp_path / "workspace")}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=tmp_path,
            env={**kept, **own},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert answers(port, path, process), (tmp_path / "output").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def answers(port: int, path: str, process: "subprocess.Popen[bytes]", wait_s: float = 120.0) -> bool:
    """Whether the process answers 200 at the path before it ends or the time is up."""
    import httpx

    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False).status_code == 200:
                return True
        except httpx.TransportError:
            time.sleep(0.2)
    return False
