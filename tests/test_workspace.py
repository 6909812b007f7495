import errno
import os
import stat

import pytest

from bottega.errors import StorageError
from bottega.files import disk_errors, sha256, write_atomic, write_json
from bottega.workspace import FORMAT, Workspace


def test_two_workspaces_never_share_a_path(tmp_path):
    one, two = Workspace.open(tmp_path / "one"), Workspace.open(tmp_path / "two")
    names = [n for n in dir(Workspace) if isinstance(getattr(Workspace, n), property)]
    assert not {getattr(one, n) for n in names} & {getattr(two, n) for n in names}
    assert one.signing_key() != two.signing_key()


def test_the_signing_key_is_kept_and_private(tmp_path):
    workspace = Workspace.open(tmp_path)
    assert workspace.signing_key() == Workspace.open(tmp_path).signing_key()
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


def test_a_workspace_of_a_newer_version_is_refused(tmp_path):
    write_json(tmp_path / "workspace.json", {"format": FORMAT + 1})
    with pytest.raises(StorageError, match=r"newer version wrote it.*Update Bottega"):
        Workspace.open(tmp_path)


def test_a_damaged_marker_is_refused(tmp_path):
    (tmp_path / "workspace.json").write_text("{")
    with pytest.raises(StorageError, match=r"damaged"):
        Workspace.open(tmp_path)


def test_a_file_is_no_workspace(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"is a file, not a workspace"):
        Workspace.open(tmp_path / "file")


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "No space"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")]
)
def test_disk_errors_say_the_next_step(tmp_path, number, message):
    with pytest.raises(StorageError, match=f"{message}.*--workspace"), disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_another_os_error_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "absent").read_text()


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_sha256(tmp_path):
    write_atomic(tmp_path / "f", b"abc")
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
