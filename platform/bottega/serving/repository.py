"""A model repository: folders `<model>/<version>/` of plain models, loaded at once, as they change, or on demand."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bottega.errors import BottegaError, Conflict, InvalidData, NotFound, Unavailable
from bottega.serving.config import ModelConfig, read_config
from bottega.serving.metrics import Metrics
from bottega.serving.plain import PlainModel, load_plain
from bottega.serving.protocol import IndexEntry, check_name

Control = Literal["none", "poll", "explicit"]
POLL_S = 1.0
_report = logging.getLogger("bottega.serving")
_Stamp = tuple[tuple[str, int, int], ...]


class Repository:
    """The models below `root`.

    `control` says who decides what is loaded: `none` loads all at the start; `poll` looks at the files once a second
    and follows them; `explicit` loads what a client asks for. A version that does not load changes nothing but
    `failures`, and the versions before it answer on.
    """

    def __init__(self, root: Path, key: Callable[[], bytes], metrics: Metrics, control: Control = "none") -> None:
        if not root.is_dir():
            raise NotFound(f"There is no model repository {root}.", next_step="Name a folder of <model>/<version>/.")
        self.root, self.control = root, control
        self._key, self._metrics = key, metrics
        self._models: dict[str, dict[int, PlainModel]] = {}
        self._stamps: dict[str, _Stamp] = {}
        self._unloaded: set[str] = set()
        self.failures: dict[tuple[str, str], str] = {}

    @property
    def ready(self) -> bool:
        """Whether every model that should be loaded has a version that answers."""
        return self.control == "explicit" or all(name in self._models for name, _ in self.failures)

    @property
    def loaded(self) -> list[PlainModel]:
        """All versions that answer, by name, oldest first."""
        return [model for name in sorted(self._models) for _, model in sorted(self._models[name].items())]

    def names(self) -> list[str]:
        """Every model folder, loaded or not; what has no valid name is left alone."""
        found = []
        for path in sorted(self.root.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                try:
                    found.append(check_name(path.name))
                except BottegaError as error:
                    _report.warning("%s", error)
        return found

    def find(self, name: str, version: str | None = None) -> PlainModel | None:
        """A model's newest version, or the one asked for; None where no folder has the name.

        Raises NotFound for a version that is not there, Unavailable for a model that is there and does not answer.
        """
        versions = self._models.get(name, {})
        if not versions:
            if not (self.root / name).is_dir():
                return None
            reason = next((text for (model, _), text in self.failures.items() if model == name), "it is not loaded")
            raise Unavailable(f"The model {name!r} does not answer: {reason}.")
        if version is None:
            return versions[max(versions)]
        if not version.isdecimal() or int(version) not in versions:
            has = ", ".join(map(str, sorted(versions)))
            raise NotFound(f"The model {name!r} has no version {version!r} that answers.", next_step=f"It has: {has}.")
        return versions[int(version)]

    async def load_all(self) -> None:
        """What a start loads: everything, or with `explicit` nothing."""
        if self.control != "explicit":
            for name in self.names():
                await self._reload(name)

    async def load(self, name: str) -> None:
        """Load a model, or load it again as its files are now. Raises why it does not load."""
        self._need_explicit("load")
        if not (self.root / check_name(name)).is_dir():
            raise NotFound(f"The repository has no model {name!r}.", next_step=f"It has: {', '.join(self.names())}.")
        await self._reload(name)
        broken = {version: text for (model, version), text in self.failures.items() if model == name}
        if broken:
            raise InvalidData(f"The model {name!r} does not load: {'; '.join(broken.values())}")

    async def unload(self, name: str) -> None:
        """Take a model out; requests that it has begun are still answered."""
        self._need_explicit("unload")
        if check_name(name) not in self._models:
            raise NotFound(f"The model {name!r} is not loaded.")
        del self._models[name]
        self._unloaded.add(name)

    async def follow(self) -> None:
        """With `poll`: look at the files for ever, and load what changed."""
        while self.control == "poll":
            await asyncio.sleep(POLL_S)
            present = self.names()
            for name in self._stamps.keys() - set(present):
                self._models.pop(name, None)
                self._stamps.pop(name)
                self._forget_failures(name)
            for name in present:
                if _stamp(self.root / name) != self._stamps.get(name):
                    await self._reload(name)

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """Every model and version, with its state."""
        entries = [IndexEntry(model.name, model.version, "READY", model.note) for model in self.loaded]
        if ready_only:
            return entries
        entries += [IndexEntry(name, version, "UNAVAILABLE", why) for (name, version), why in self.failures.items()]
        seen = {entry.name for entry in entries}
        for name in self.names():
            if name not in seen:
                entries.append(IndexEntry(name, "", "UNAVAILABLE", "unloaded" if name in self._unloaded else ""))
        return entries

    def _need_explicit(self, what: str) -> None:
        if self.control != "explicit":
            raise Conflict(
                f"Models are not to be {what}ed by clients here: the server's model control is {self.control!r}.",
                next_step="Start it with --model-control explicit.",
            )

    async def _reload(self, name: str) -> None:
        """Load what is new or changed of a model in a thread, while the old versions answer; then switch at once."""
        folder, old = self.root / name, self._models.get(name, {})
        stamp, before = _stamp(folder), self._stamps.get(name)
        self._forget_failures(name)
        self._stamps[name] = stamp
        try:
            config = read_config(folder, name)
            wanted = _versions(folder, config)
        except BottegaError as error:
            self._fail(name, "", error)
            return
        fresh: dict[int, PlainModel] = {}
        for version in wanted:
            if version in old and before is not None and _of(stamp, version) == _of(before, version):
                fresh[version] = old[version]
                continue
            try:
                fresh[version] = await asyncio.to_thread(
                    load_plain, folder / str(version), name, str(version), config, self._key, self._metrics
                )
            except Exception as error:  # noqa: BLE001  whatever is wrong with one version, the others answer on
                self._fail(name, str(version), error)
                if version in old:
                    fresh[version] = old[version]
        if fresh:
            self._models[name] = fresh
        else:
            self._models.pop(name, None)
        if not wanted:
            self._fail(name, "", NotFound(f"{folder} has no version folder", next_step="Put the model into 1/."))

    def _fail(self, name: str, version: str, error: Exception) -> None:
        self.failures[name, version] = str(error) or type(error).__name__
        _report.error("%s %s does not load: %s", name, version, error)

    def _forget_failures(self, name: str) -> None:
        self._unloaded.discard(name)
        for key in [key for key in self.failures if key[0] == name]:
            del self.failures[key]


def _versions(folder: Path, config: ModelConfig) -> list[int]:
    """The version folders to serve, oldest first: 1 and up, by the configuration's policy."""
    found = sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and _is_version(path.name))
    if config.versions:
        return [version for version in found if version in config.versions]
    return found[-config.latest :] if config.latest else found


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name[0] != "0" and len(name) < 19


def _stamp(folder: Path) -> _Stamp:
    """Every file with its time and size."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            state = path.stat()
        except OSError:
            continue  # gone since it was listed
        if path.is_file():
            found.append((path.relative_to(folder).as_posix(), state.st_mtime_ns, state.st_size))
    return tuple(found)


def _of(stamp: _Stamp, version: int) -> _Stamp:
    """What concerns one version: its own files and the configuration."""
    return tuple(one for one in stamp if one[0].startswith(f"{version}/") or "/" not in one[0])
