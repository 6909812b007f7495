"""Downloads from a dataset's publisher: only when asked, and a file is either whole or not there."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import httpx

from bottega.datasets.catalog import Dataset, dataset
from bottega.errors import IntegrityError, InvalidData, InvalidInput, NotFound, Unavailable, Unsupported
from bottega.files import disk_errors
from bottega.progress import Progress, silent
from bottega.workspace import Workspace

_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
_TIMEOUT_S = 30.0


def download(
    name: str | Dataset, months: Sequence[str], workspace: Workspace, progress: Progress = silent
) -> tuple[Path, ...]:
    """Fetch a dataset's files into the workspace; files that are there already are kept, so an interrupted run resumes.

    `months` are YYYY-MM for a dataset published by the month, empty otherwise. `progress` counts bytes of each file.
    Raises Unavailable where the publisher does not answer, NotFound where it has no such file, InvalidData or
    IntegrityError where what came is not the file.
    """
    declared = dataset(name) if isinstance(name, str) else name
    folder = workspace.data / declared.name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = []
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as client:
        for url, file in _wanted(declared, months, folder):
            if not file.exists():
                _fetch(client, url, file, declared.sha256.get(file.name), progress)
            files.append(file)
    return tuple(files)


def _wanted(declared: Dataset, months: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    if not declared.url:
        raise Unsupported(f"{declared.name} has no public address.", next_step="The simulator makes it here.")
    if "{month}" not in declared.url:
        if months:
            raise InvalidInput(f"{declared.name} is not published by the month.", next_step="Leave the month out.")
        return [(declared.url, folder / declared.file)]
    if not months:
        raise InvalidInput(f"{declared.name} is published by the month.", next_step="Say which: --month 2023-01.")
    for month in months:
        if not _MONTH.fullmatch(month):
            raise InvalidInput(f"{month!r} is not a month.", next_step="Write YYYY-MM, for example 2023-01.")
    unique = dict.fromkeys(months)
    return [(declared.url.format(month=m), folder / declared.file.format(month=m)) for m in unique]


def _fetch(client: httpx.Client, url: str, file: Path, pinned: str | None, progress: Progress) -> None:
    partial = file.with_name(f".{file.name}.part")
    digest = hashlib.sha256()
    size = 0
    try:
        with disk_errors(file), client.stream("GET", url) as response:
            _check_status(response, url)
            expected = int(response.headers.get("content-length", 0))
            encoded = "content-encoding" in response.headers
            with partial.open("wb") as out:
                for block in response.iter_bytes(1 << 16):
                    out.write(block)
                    digest.update(block)
                    size += len(block)
                    progress(f"fetch {file.name}", size, 0 if encoded else expected)
        if not encoded and expected and size != expected:
            raise Unavailable(f"{url} broke off after {size} of {expected} bytes.", next_step="Run the command again.")
        if pinned is not None and digest.hexdigest() != pinned:
            raise IntegrityError(
                f"{url} has the SHA-256 {digest.hexdigest()}, not the pinned {pinned}: the file is not used.",
                next_step="The publisher may have revised it; see the dataset's card.",
            )
        _check_content(partial, url)
        with disk_errors(file):
            partial.replace(file)
    except httpx.TransportError as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise Unavailable(
            f"{url} does not answer: {reason}.",
            next_step="Check the network connection; the city simulator needs none.",
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _check_status(response: httpx.Response, url: str) -> None:
    if response.status_code in (403, 404):  # the publisher's store answers 403 for a file that it does not have
        raise NotFound(
            f"The publisher has no file {url} (HTTP {response.status_code}).",
            next_step="Choose another month: months appear about two months late.",
        )
    if response.status_code != 200:
        raise Unavailable(f"{url} answered HTTP {response.status_code}.", next_step="Try again later.")


def _check_content(partial: Path, url: str) -> None:
    content = partial.read_bytes()
    if ".parquet" in url and not (len(content) >= 12 and content[:4] == content[-4:] == b"PAR1"):
        raise InvalidData(f"{url} is not a Parquet file.", next_step="A proxy may have answered; open the address.")
    if "GeoJSON" in url and b'"features"' not in content:
        raise InvalidData(f"{url} is not GeoJSON.", next_step="A proxy may have answered; open the address.")
