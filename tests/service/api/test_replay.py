# SPDX-License-Identifier: GPL-3.0-or-later
"""How long and how much is kept to be answered again."""

import asyncio

import pytest
from fastapi import Response

from openngt_service.api.replay import OVERHEAD_BYTES, Replays
from openngt_service.store.task_rows import RequestKey, request_key


def key(name: str, asked: str = "x") -> RequestKey:
    return request_key("actor", name, "POST", {"body": asked})


class Work:
    """Counts how often it was done; each answer is `size` bytes long."""

    def __init__(self, size: int = 10) -> None:
        self.done = 0
        self._content = b"x" * size

    async def __call__(self) -> Response:
        self.done += 1
        return Response(self._content)


def test_answers_are_forgotten_by_age() -> None:
    now = [0.0]
    replays, work = Replays(max_age=10, clock=lambda: now[0]), Work()

    async def scenario() -> None:
        for at, expected in ((0, 1), (9, 1), (11, 1), (11.1, 1)):
            now[0] = at
            await replays.run(key("k"), work)
            assert work.done == expected
        await replays.run(key("other"), work)  # a new answer is what sweeps the old ones out
        await replays.run(key("k"), work)
        assert work.done == 3

    asyncio.run(scenario())


def test_the_oldest_answers_make_room() -> None:
    replays, work = Replays(max_bytes=3 * (1000 + OVERHEAD_BYTES)), Work(1000)

    async def scenario() -> None:
        for number in range(10):
            await replays.run(key(str(number)), work)
        assert work.done == 10
        await replays.run(key("9"), work)
        assert work.done == 10
        await replays.run(key("0"), work)
        assert work.done == 11

    asyncio.run(scenario())


def test_a_call_that_fails_lets_the_next_one_try() -> None:
    replays, work = Replays(), Work()

    async def failing() -> Response:
        raise ValueError("no")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="no"):
            await replays.run(key("k"), failing)
        await replays.run(key("k"), work)
        assert work.done == 1

    asyncio.run(scenario())
