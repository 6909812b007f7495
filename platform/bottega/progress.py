"""The one shape in which long work reports how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called with the name of the task, how many units are done and how many there are (0: not known)."""

    def __call__(self, task: str, done: int, total: int) -> None: ...


def silent(task: str, done: int, total: int) -> None:
    """Report to nobody: the default of every function that takes a `Progress`."""
