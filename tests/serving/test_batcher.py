"""Batching by loop turn: one run for what came together, each caller its own part."""

import asyncio
import threading

import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.features.steps import Columns
from bottega.serving.batcher import Batcher, QueueFull


class Squares:
    """Squares a column and remembers the size of each batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, columns: Columns) -> Columns:
        self.batches.append(len(columns["x"]))
        if (columns["x"] < 0).any():
            raise ArithmeticError("negative")
        return {"y": columns["x"] ** 2}


def ignore(_: int) -> None:
    return None


def test_requests_of_one_turn_are_one_batch() -> None:
    squares = Squares()

    async def ask() -> list[Columns]:
        batcher = Batcher(squares.run, ignore)

        async def one(values: list[int]) -> Columns:
            return await batcher.submit({"x": np.array(values)}, len(values))

        return list(await asyncio.gather(one([1]), one([2, 3]), one([4])))

    answers = asyncio.run(ask())
    assert squares.batches == [4]
    assert [answer["y"].tolist() for answer in answers] == [[1], [4, 9], [16]]


def test_a_batch_ends_at_its_limit_and_a_larger_request_runs_alone() -> None:
    squares = Squares()

    async def ask() -> list[Columns]:
        batcher = Batcher(squares.run, ignore, max_rows=3)
        return list(await asyncio.gather(*(batcher.submit({"x": np.arange(n)}, n) for n in (2, 1, 1, 5, 1))))

    answers = asyncio.run(ask())
    assert squares.batches == [3, 1, 5, 1]
    assert [len(answer["y"]) for answer in answers] == [2, 1, 1, 5, 1]


def test_a_client_that_went_away_does_not_disturb_the_others() -> None:
    squares = Squares()

    async def ask() -> Columns:
        batcher = Batcher(squares.run, ignore)
        gone = batcher.submit({"x": np.array([1])}, 1)
        stays = batcher.submit({"x": np.array([2])}, 1)
        gone.cancel()
        return await stays

    assert asyncio.run(ask())["y"].tolist() == [4]
    assert squares.batches == [1]


def test_a_failing_batch_fails_its_callers_only() -> None:
    squares = Squares()

    async def ask() -> Columns:
        batcher = Batcher(squares.run, ignore)
        with pytest.raises(ArithmeticError):
            await batcher.submit({"x": np.array([-1])}, 1)
        return await batcher.submit({"x": np.array([3])}, 1)

    assert asyncio.run(ask())["y"].tolist() == [9]


def test_a_turn_without_living_clients_runs_nothing() -> None:
    squares = Squares()

    async def ask() -> None:
        batcher = Batcher(squares.run, ignore)
        batcher.submit({"x": np.array([1])}, 1).cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert squares.batches == []


def test_a_run_that_waits_leaves_the_loop_free_and_answers_each_caller() -> None:
    released = threading.Event()
    squares = Squares()

    def run(columns: Columns) -> Columns:
        assert released.wait(20)
        return squares.run(columns)

    async def ask() -> list[float]:
        batcher = Batcher(run, ignore, threads=32)
        waiting = [batcher.submit({"x": np.array([x])}, 1) for x in (2.0, 3.0)]
        gone = batcher.submit({"x": np.array([5.0])}, 1)
        await asyncio.sleep(0.01)  # the batch has begun, and the loop still turns
        assert not any(future.done() for future in waiting)
        gone.cancel()
        released.set()
        return [(await future)["y"].item() for future in waiting]

    assert asyncio.run(ask()) == [4.0, 9.0]
    assert squares.batches == [3]


def test_a_failure_of_a_run_that_waits_reaches_each_caller() -> None:
    async def ask() -> list[BaseException | Columns]:
        batcher = Batcher(Squares().run, ignore, threads=32)
        return await asyncio.gather(
            *(batcher.submit({"x": np.array([x])}, 1) for x in (-1.0, 2.0)), return_exceptions=True
        )

    assert [type(answer) for answer in asyncio.run(ask())] == [ArithmeticError, ArithmeticError]


def test_one_thread_takes_what_came_meanwhile_as_one_batch() -> None:
    released = threading.Event()
    squares = Squares()

    def run(columns: Columns) -> Columns:
        assert released.wait(20)
        return squares.run(columns)

    async def ask() -> list[float]:
        batcher = Batcher(run, ignore, threads=1)
        waiting = [batcher.submit({"x": np.array([1.0])}, 1)]
        for x in (2.0, 3.0, 4.0):
            await asyncio.sleep(0.01)
            waiting.append(batcher.submit({"x": np.array([x])}, 1))
        released.set()
        return [(await future)["y"].item() for future in waiting]

    assert asyncio.run(ask()) == [1.0, 4.0, 9.0, 16.0]
    assert squares.batches == [1, 3]


def test_more_rows_than_may_wait_are_refused_and_room_comes_back() -> None:
    async def ask() -> None:
        batcher = Batcher(Squares().run, ignore, max_waiting=5)
        first = batcher.submit({"x": np.ones(4)}, 4)
        with pytest.raises(QueueFull, match="4 rows wait"):
            batcher.submit({"x": np.ones(2)}, 2)
        await first
        await batcher.submit({"x": np.ones(9)}, 9)  # one large request alone is no queue

    asyncio.run(ask())


@pytest.mark.parametrize("threads", [0, 1])
def test_a_row_that_is_refused_spoils_its_own_request_only(threads: int) -> None:
    batches: list[int] = []

    def run(columns: Columns) -> Columns:
        batches.append(len(columns["x"]))
        if (columns["x"] < 0).any():
            raise InvalidInput("x is negative.")
        return {"y": columns["x"] ** 2}

    async def ask() -> list[Columns | BaseException]:
        batcher = Batcher(run, ignore, threads=threads)
        waiting = [batcher.submit({"x": np.array(values)}, len(values)) for values in ([1], [2, -3], [4])]
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    first, refused, last = asyncio.run(ask())
    assert isinstance(first, dict) and first["y"].tolist() == [1]
    assert isinstance(refused, InvalidInput) and str(refused) == "x is negative."
    assert isinstance(last, dict) and last["y"].tolist() == [16]
    assert batches == [4, 1, 2, 1]
