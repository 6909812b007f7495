"""Messages: what the platform says when something is missing, and what to do next, in place of a traceback."""

import contextlib
from collections.abc import Iterator

import streamlit as st

from bottega.errors import BottegaError, NotFound, Unavailable


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Show an error of the platform as a message with its next step; the rest of the page goes on."""
    try:
        yield
    except (NotFound, Unavailable) as error:
        st.info(_text(error), icon=":material/info:")
    except BottegaError as error:
        st.error(_text(error), icon=":material/error:")


def empty(what: str, command: str = "") -> None:
    """Say that something is not there yet, and the command that makes it."""
    st.info(f"{what} Run `{command}`." if command else what, icon=":material/info:")


def _text(error: BottegaError) -> str:
    return f"{_plain(error.what)}  \n{_plain(error.next_step)}" if error.next_step else _plain(error.what)


def _plain(text: str) -> str:
    """Text of an error as Markdown: names and paths stay as they are, quoted commands become code."""
    parts = text.split("'")
    if len(parts) % 2 == 0:
        return _escaped(text)
    return "".join(f"`{part}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    for mark in "\\*_[]<>$~`#":
        text = text.replace(mark, f"\\{mark}")
    return text
