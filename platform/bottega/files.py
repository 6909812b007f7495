"""Files that are either the old or the new one, never half of each, with disk errors said plainly."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bottega.errors import StorageError

_DISK_ERRORS = {
    errno.ENOSPC: ("No space is left on the disk", "Free some space, or choose another place with --workspace."),
    errno.EDQUOT: ("The disk quota is used up", "Free some space, or choose another place with --workspace."),
    errno.EROFS: ("The file system is read-only", "Choose a writable place with --workspace."),
    errno.EACCES: ("Permission denied", "Choose a writable place with --workspace."),
}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's disk errors under `path` into a StorageError with the next step."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        what, next_step = _DISK_ERRORS[error.errno]
        raise StorageError(f"{what} while writing {path}.", next_step=next_step) from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, sync it, and rename it over `path`."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
