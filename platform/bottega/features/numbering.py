"""Numbering: entities as small whole numbers, by their keys."""

import numpy as np
import pandas as pd


class Numbering:
    """The different entities of some rows, numbered from 0; `size` is how many there are.

    `keys` are (n,) each, int64 or text; no key column at all stands for the one entity that has none.
    """

    def __init__(self, keys: tuple[np.ndarray, ...]) -> None:
        self._different: list[pd.Index] = []
        self._pairs: list[pd.Index] = []
        self.size = 1
        before = np.zeros(0, np.int64)
        for i, key in enumerate(keys):
            codes, different = pd.factorize(key)
            self._different.append(pd.Index(different))
            entity, self.size = codes, len(different)
            if i:
                entity, pairs = pd.factorize(before * len(different) + codes)
                self._pairs.append(pd.Index(pairs))
                self.size = len(pairs)
            before = entity

    def find(self, keys: tuple[np.ndarray, ...], rows: int) -> np.ndarray:
        """The numbers of the entities of `rows` rows: (rows,) int32, -1 for one that is not among them."""
        entity = np.zeros(rows, np.int64)
        for i, (key, different) in enumerate(zip(keys, self._different, strict=True)):
            codes = different.get_indexer(key)
            if i:
                known = (codes >= 0) & (entity >= 0)
                pair = self._pairs[i - 1].get_indexer(entity * len(different) + codes)
                codes = np.where(known, pair, -1)
            entity = codes
        return entity.astype(np.int32)
