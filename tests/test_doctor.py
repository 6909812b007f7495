import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bottega import doctor
from bottega.files import write_json
from bottega.serving.address import Address
from bottega.settings import Settings, asset_folder


def test_this_machine_is_fit(tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    findings = doctor.examine(Settings(workspace=tmp_path, http_port=ports[0], studio_port=ports[1]))
    assert [f for f in findings if f.status == "missing"] == []
    assert doctor.exit_code(findings) == 0
    for finding in findings:
        assert finding.found
        assert finding.meaning
        assert (finding.status == "ok") == (finding.next_step == ""), finding


def test_the_doctor_imports_no_library_that_it_looks_for(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bottega import doctor; from bottega.settings import Settings\n"
        f"doctor.examine(Settings(workspace=Path({str(tmp_path)!r})))\n"
        f"sys.exit(', '.join(sorted(set({doctor.MODULES}) & set(sys.modules))) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONSAFEPATH": "1"})


def test_one_missing_thing_gives_exit_code_1() -> None:
    missing = doctor.Finding("x", "missing", "", "")
    optional = doctor.Finding("y", "optional", "", "")
    assert doctor.exit_code((optional,)) == 0
    assert doctor.exit_code((optional, missing)) == 1


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "missing"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "missing")]
)
def test_python_version(version: tuple[int, int], status: str) -> None:
    assert doctor.python_version(version).status == status


@pytest.mark.parametrize(
    ("system", "machine", "release", "status"),
    [
        ("Linux", "x86_64", "2.28", "ok"),
        ("Linux", "aarch64", "2.36", "ok"),
        ("Linux", "x86_64", "2.27", "missing"),
        ("Linux", "x86_64", "", "missing"),
        ("Darwin", "arm64", "14.0", "ok"),
        ("Darwin", "arm64", "13.6.1", "missing"),
        ("Darwin", "x86_64", "15.1", "missing"),
        ("Windows", "AMD64", "", "missing"),
    ],
)
def test_operating_system(system: str, machine: str, release: str, status: str) -> None:
    finding = doctor.operating_system(system, machine, release)
    assert finding.status == status
    assert ("WSL" in finding.next_step) == (system == "Windows")


def test_packages_names_what_is_lost_or_of_another_version() -> None:
    lines = ("msgspec==0.1", "no-such-package==1.0", "msgspec>=0.2", "other==1; sys_platform == 'win32'")
    finding = doctor.packages(lines)
    assert finding.status == "missing"
    assert finding.found.startswith("msgspec is 0.")
    assert "no-such-package is not installed" in finding.found
    assert "other" not in finding.found


def test_packages_compares_with_the_lock() -> None:
    lines = (asset_folder("labs").parent / "requirements.lock").read_text().splitlines()
    other = "!=" if sys.platform == "linux" else "=="
    here = [line for line in lines if line and f'sys_platform {other} "linux"' not in line]
    finding = doctor.packages()
    assert (finding.status, finding.found) == ("ok", f"{len(here)} as in requirements.lock")


def test_modules_names_what_is_not_found() -> None:
    assert doctor.modules(("msgspec", "no_such_module")).found == "no_such_module"


def test_modules_sees_the_root_on_the_path() -> None:
    root = asset_folder("datasets").parent
    code = "import json; from bottega import doctor; f = doctor.modules(()); print(json.dumps([f.status, f.found]))"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(ran.stdout) == ["missing", "the repository's root is on Python's path"]


def test_port_in_use_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        finding = doctor.port("server port", "127.0.0.1", number, "bottega serve", "BOTTEGA_HTTP_PORT")
    assert finding.status == "missing"
    assert "in use" in finding.found
    assert "BOTTEGA_HTTP_PORT" in finding.next_step
    assert doctor.port("server port", "127.0.0.1", number, "bottega serve", "BOTTEGA_HTTP_PORT").status == "ok"


def test_a_port_that_our_own_server_has_is_fine(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(workspace=tmp_path, http_port=taken.getsockname()[1])
        assert doctor.server_port(settings).status == "missing"
        address = Address(os.getpid(), "127.0.0.1", settings.http_port, datetime(2024, 1, 16, tzinfo=UTC))
        write_json(tmp_path / "server.json", address)
        finding = doctor.server_port(settings)
    assert (finding.status, "bottega serve runs on" in finding.found) == ("ok", True)


def test_workspace_is_looked_at_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "workspace"
    assert doctor.workspace(folder).status == "ok"
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    for text, status, word in [
        ('{"format": 1}', "ok", "format 1"),
        ('{"format": 99}', "missing", "newer"),
        ("{", "missing", "damaged"),
        ("{}", "missing", "damaged"),
    ]:
        (folder / "workspace.json").write_text(text)
        finding = doctor.workspace(folder)
        assert (finding.status, word in finding.found) == (status, True), finding
    assert doctor.workspace(folder / "workspace.json").status == "missing"


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path / "a" / "b").found == doctor.disk(tmp_path).found


def test_data_folder(tmp_path: Path) -> None:
    assert doctor.data(None).status == "optional"
    assert doctor.data(tmp_path / "lost").status == "missing"
    assert doctor.data(tmp_path).status == "missing"
    (tmp_path / "tlc_green_trips").mkdir()
    finding = doctor.data(tmp_path)
    assert (finding.status, finding.found) == ("ok", f"{tmp_path}: tlc_green_trips")


def test_browser_is_optional() -> None:
    assert doctor.browser(lambda name: None).status in ("optional", "ok")
    assert doctor.browser(lambda name: f"/bin/{name}").found == "/bin/chromium"
