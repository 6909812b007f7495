"""From text to words: the same cut for places and for what people type.

>>> stems("Tanner's Café, romantic tacos")
['tanner', 'cafe', 'romant', 'taco']
"""

import functools

import tantivy

TOKENIZER = "words"
_APOSTROPHES = str.maketrans("", "", "'’`")
_LETTERS = r"[\p{L}\p{N}�]+"  # the last stands for a letter that a file lost: 'Rinc�n' is one word


@functools.cache
def analyzer(stemming: bool = True) -> tantivy.TextAnalyzer:
    """Cut into words: lower case, no accents, no 'the' or 'for'; with `stemming` English endings go too (Snowball)."""
    built = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_LETTERS))
    built = built.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold())
    built = built.filter(tantivy.Filter.stopword("english"))
    if stemming:
        built = built.filter(tantivy.Filter.stemmer("english"))
    return built.build()


def plain(text: str) -> str:
    """The text without its apostrophes: `Tanner's` is one word."""
    return text.translate(_APOSTROPHES)


def words(text: str) -> list[str]:
    """The words as they are written, in lower case and without accents."""
    return analyzer(stemming=False).analyze(plain(text))


def stems(text: str) -> list[str]:
    """The words without their endings, as the index holds them."""
    return analyzer().analyze(plain(text))
