"""Lexical search: BM25 over names, cuisines, features and cities, by the search library tantivy.

Each word is looked up in each field alone, so that a hit's points can be told apart: they are the explanation.
BM25: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009); k1 is 1.2 and b 0.75.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tantivy

from bottega.ranking.place import Place
from bottega.ranking.words import TOKENIZER, analyzer, plain

WEIGHTS = MappingProxyType({"name": 2.0, "cuisines": 1.5, "features": 1.0, "city": 0.5})
"""What a point in a field counts."""
KEPT = 256
"""How many words' points are kept in memory: people ask for the same things."""


class LexicalIndex:
    """An inverted index in a folder; a row is a place's number in the order of building."""

    def __init__(self, index: tantivy.Index) -> None:
        index.register_tokenizer(TOKENIZER, analyzer())
        self._schema = index.schema
        self._searcher = index.searcher()
        self.points = functools.lru_cache(KEPT)(self._look_up)
        """By field, the points that a stem gives each place, (places,) float64; fields without it are left out."""

    @classmethod
    def build(cls, places: Sequence[Place], folder: Path) -> "LexicalIndex":
        """Write the index of these places into an empty folder."""
        schema = tantivy.SchemaBuilder().add_unsigned_field("row", fast=True)
        for field in WEIGHTS:
            schema = schema.add_text_field(field, tokenizer_name=TOKENIZER, index_option="freq")
        folder.mkdir(parents=True)
        index = tantivy.Index(schema.build(), path=str(folder))
        index.register_tokenizer(TOKENIZER, analyzer())
        with index.writer(heap_size=15_000_000, num_threads=1) as writer:
            for row, place in enumerate(places):
                document = tantivy.Document()
                document.add_unsigned("row", row)
                for field, text in texts(place).items():
                    document.add_text(field, plain(text))
                writer.add_document(document)
            writer.commit()
            writer.wait_merging_threads()
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "LexicalIndex":
        """Open the index that `build` wrote."""
        return cls(tantivy.Index.open(str(folder)))

    @property
    def places(self) -> int:
        """How many places it holds."""
        return int(self._searcher.num_docs)

    def _look_up(self, stem: str) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for field, weight in WEIGHTS.items():
            query = tantivy.Query.term_query(self._schema, field, stem, index_option="freq")
            hits = self._searcher.search(query, limit=max(self.places, 1), count=False).hits
            if hits:
                rows = self._searcher.fast_field_values("row", [address for _, address in hits])
                found[field] = np.zeros(self.places)
                found[field][np.array(rows, int)] = [weight * score for score, _ in hits]
                found[field].flags.writeable = False
        return found


def texts(place: Place) -> dict[str, str]:
    """What each field says of a place."""
    return {
        "name": place.name,
        "cuisines": " ".join(place.cuisines),
        "features": " ".join((*place.features, *place.also)),
        "city": place.city,
    }
