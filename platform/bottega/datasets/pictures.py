"""Labelled pictures in one table, from Parquet files, plain picture files or drawn; bad ones are counted by reason."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bottega.datasets.catalog import Dataset, dataset
from bottega.datasets.origin import Origin, data_files, picture_files
from bottega.datasets.photo import BadPicture, decode_picture
from bottega.datasets.portraits import draw_portraits
from bottega.datasets.rules import Verdict, broken_by, first_broken
from bottega.errors import InvalidData, NotFound
from bottega.progress import Progress, silent

GROUPS = ("tone", "light", "framing")
DRAWN = {"face_mask": ("mask", 0), "helmet": ("helmet", 1_000_000)}
"""By dataset: the label that is drawn, and the number of the first portrait, so that no portrait is in both."""
DRAWN_COUNT = 1200


@dataclass(frozen=True)
class Pictures:
    """The good pictures of a dataset, sorted: image_id, label (int8), jpeg (bytes), tone, light, framing."""

    table: pd.DataFrame
    rejected: dict[str, int]
    data_source: str
    fingerprint: str


def load_pictures(
    name: str, origin: Origin | Path, *, seed: int = 7, count: int = DRAWN_COUNT, progress: Progress = silent
) -> Pictures:
    """The pictures of the dataset `name` from an origin, a folder or a file; `seed` and `count` are of drawn ones.

    Raises NotFound where there is no file, InvalidData for a file or column that is not what it claims, or where no
    good picture is left.
    """
    declared = dataset(name)
    if isinstance(origin, Origin) and origin.kind == "simulator":
        label, first = DRAWN[name]
        table = draw_portraits(seed, count, label=label, first=first, progress=progress)
        table = table.sort_values("image_id", ignore_index=True)
        return Pictures(table, {}, origin.label, fingerprint(table))
    path = origin.path if isinstance(origin, Origin) else origin
    assert path is not None
    table = _read(path, declared)
    verdict = _check(table, declared, progress)
    good = table[verdict.good].sort_values("image_id", ignore_index=True)
    if good.empty:
        raise InvalidData(f"{path} has no good picture.", next_step=f"All were refused: {verdict.counts()}.")
    good = good.astype({"label": np.int8})
    source = origin.label if isinstance(origin, Origin) else str(path)
    return Pictures(good, verdict.counts(), source, fingerprint(good))


def fingerprint(table: pd.DataFrame) -> str:
    """Hex SHA-256 over every picture's id, label and bytes."""
    digest = hashlib.sha256()
    for image_id, label, jpeg in zip(table["image_id"], table["label"], table["jpeg"], strict=True):
        digest.update(f"{image_id}:{label}:{len(jpeg)};".encode())
        digest.update(jpeg)
    return digest.hexdigest()


def _read(path: Path, declared: Dataset) -> pd.DataFrame:
    files = (path,) if path.is_file() else data_files(path)
    if files:
        table = pd.concat([_read_parquet(file) for file in files], ignore_index=True)
    elif plain := picture_files(path):
        rows = [(f"{file.parent.name}/{file.name}", int(file.parent.name), file.read_bytes()) for file in plain]
        table = pd.DataFrame(rows, columns=["image_id", "label", "jpeg"])
    else:
        raise NotFound(
            f"{path} has no pictures.",
            next_step="It takes images.parquet, or files 0/*.jpg and 1/*.jpg, whose folders are the labels.",
        )
    for group in GROUPS:
        table[group] = table[group].astype(object) if group in table else None
    return table[["image_id", "label", "jpeg", *GROUPS]]


def _read_parquet(file: Path) -> pd.DataFrame:
    """A file's columns, each of its type: texts, whole numbers, bytes."""
    next_step = "See the dataset's card for its columns."
    try:
        found = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InvalidData(f"{file} is no sound Parquet file: {reason}.", next_step=next_step) from None
    for name, fits, kind in _TYPES:
        if name not in found.column_names:
            raise InvalidData(f"{file} lacks the column {name!r}.", next_step=next_step)
        if not any(fit(found.schema.field(name).type) for fit in fits):
            said = found.schema.field(name).type
            raise InvalidData(f"{file}: the column {name!r} is {said}; it must hold {kind}.", next_step=next_step)
    return found.to_pandas()


_TYPES = (
    ("image_id", (pa.types.is_string, pa.types.is_large_string), "text"),
    ("label", (pa.types.is_integer,), "whole numbers"),
    ("jpeg", (pa.types.is_binary, pa.types.is_large_binary), "bytes"),
)


def _check(table: pd.DataFrame, declared: Dataset, progress: Progress) -> Verdict:
    values: Mapping[str, pd.Series] = {name: table[name] for name in table}
    broken: list[tuple[str, np.ndarray]] = []
    for check in declared.checks:
        if check.kind in ("null", "allowed"):
            broken += broken_by(check, declared.columns, values)
    found = np.array([_reason(jpeg, i, len(table), progress) for i, jpeg in enumerate(table["jpeg"])], object)
    broken += [(check.reason, found == check.reason) for check in declared.checks if check.kind == "picture"]
    broken.append(("duplicate", table["image_id"].duplicated().to_numpy()))
    return Verdict(first_broken(len(table), declared.reasons, broken), declared.reasons)


def _reason(jpeg: bytes | None, done: int, total: int, progress: Progress) -> str:
    progress("check pictures", done + 1, total)
    try:
        decode_picture(jpeg or b"")
    except BadPicture as bad:
        return bad.reason
    return ""
