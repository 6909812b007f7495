"""Slow clients: how long one may take to send a request, and to take its answer.

A look around once a second or so costs the requests nothing; a limit is kept to within that time.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """Seconds: from a connection or the first byte of a request to the end of its headers; from there to the end of its
    body; and for which an answer may stand unread before the connection is given up.
    """

    head_s: float = 10.0
    body_s: float = 60.0
    unread_s: float = 60.0


PATIENCE = Patience()


async def watch(connections: Iterable[Any], patience: Patience) -> None:
    """Have each connection (`bottega.serving.connection`) look after its client, for ever."""
    loop = asyncio.get_running_loop()
    pause_s = min(1.0, patience.head_s / 4, patience.body_s / 4)
    while True:
        await asyncio.sleep(pause_s)
        for connection in tuple(connections):
            connection.end_if_slow(loop.time(), patience)
