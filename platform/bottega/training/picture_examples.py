"""Examples of a picture recipe: every source's pictures as pixels, with a label for each head that has one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.datasets.pictures import GROUPS
from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.picture import Thumbnail, take_thumbnail
from bottega.progress import Progress
from bottega.training.picture_recipe import PictureRecipe

MINIMUM_ROWS = 60
"""Of each label of each head."""


@dataclass(frozen=True)
class PictureExamples:
    """`pixels` (rows, 3, side, side) float32; `labels` (rows, heads) float32, NaN where a head's is not known.

    `quality` (brightness, contrast, sharpness) and `groups` (as text, None where not known) have a row each.
    """

    contents: tuple[bytes, ...]
    pixels: np.ndarray
    labels: np.ndarray
    quality: pd.DataFrame
    groups: pd.DataFrame

    def of_head(self, head: int) -> np.ndarray:
        """The rows whose label for a head is known: (rows,) bool."""
        return ~np.isnan(self.labels[:, head])


def make_picture_examples(recipe: PictureRecipe, sources: Sources, side: int, progress: Progress) -> PictureExamples:
    """The examples of all sources that are there, in the order of the heads.

    Raises InvalidInput where a head has too few pictures of a label.
    """
    names = [head.source for head in recipe.heads]
    tables = [sources[name].assign(head=i) for i, name in enumerate(names) if name in sources]
    if not tables:
        raise InvalidInput("There are no pictures.", next_step=f"They come from {', '.join(names)}.")
    table = pd.concat(tables, ignore_index=True)
    labels = np.full((len(table), len(names)), np.nan, np.float32)
    labels[np.arange(len(table)), table["head"]] = table["label"]
    found: list[Thumbnail] = []
    for content in table["jpeg"]:
        found.append(take_thumbnail(content, side))
        progress("Reading pictures", len(found), len(table))
    quality = pd.DataFrame([(one.brightness, one.contrast, one.sharpness) for one in found], columns=list(QUALITY))
    pixels = np.stack([one.pixels for one in found])
    return PictureExamples(tuple(table["jpeg"]), pixels, labels, quality, table[list(GROUPS)])


QUALITY = ("brightness", "contrast", "sharpness")


def check_enough(recipe: PictureRecipe, examples: PictureExamples) -> None:
    """Raise InvalidInput where a head has too few pictures of a label to learn from and to be judged by."""
    for i, head in enumerate(recipe.heads):
        for label in (0, 1):
            count = int((examples.labels[:, i] == label).sum())
            if count < MINIMUM_ROWS:
                raise InvalidInput(
                    f"{head.source} has {count} pictures with label {label}; {MINIMUM_ROWS} are the least.",
                    next_step="Add pictures.",
                )
