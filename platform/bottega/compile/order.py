"""Orders: what is asked of a build, and the folder that it works in until everything is done."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottega.compile.target import Target, host, misfit
from bottega.errors import Conflict, InvalidInput, Unsupported
from bottega.files import disk_errors
from bottega.progress import Progress, silent

BUCKETS = (1, 4, 16, 64, 256)
TASK = "Compiling"
STAGES = ("lower", "compile", "check parity", "measure", "sign")


@dataclass(frozen=True)
class Order:
    """Everything about a build but the model. Without `measure`, native code is taken where there is any."""

    version: str
    key: bytes
    buckets: tuple[int, ...]
    measure: bool
    target: Target
    progress: Progress

    @classmethod
    def place(
        cls,
        version: str,
        key: bytes,
        buckets: Sequence[int] = BUCKETS,
        *,
        measure: bool = True,
        target: Target | None = None,
        progress: Progress = silent,
    ) -> "Order":
        """Raises InvalidInput for buckets that make no sense, Unsupported for a target that this machine is not."""
        sizes = tuple(sorted(set(buckets)))
        if not sizes or sizes[0] < 1:
            raise InvalidInput(f"The buckets are {list(buckets)}.", next_step="Give at least one, each 1 or more.")
        chosen = target or host()
        if reason := misfit(chosen):
            raise Unsupported(f"The target does not run here, so parity cannot be checked: {reason}.")
        return cls(version, key, sizes, measure, chosen, progress)

    def done(self, stages: int) -> None:
        """Report how many of the stages are done."""
        self.progress(TASK, stages, len(STAGES))


def check_free(out: Path) -> None:
    """Raise Conflict where there is an artefact already."""
    if out.exists():
        raise Conflict(f"The artefact {out} exists.", next_step="Versions never change: register a new one.")


@contextlib.contextmanager
def whole_or_none(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` at the end, or goes.

    Raises Conflict where `out` exists, also where another build of the same version was faster.
    """
    check_free(out)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            yield staging
            staging.chmod(0o755)
            _rename(staging, out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def _rename(staging: Path, out: Path) -> None:
    try:
        staging.rename(out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            check_free(out)
        raise
