# SPDX-License-Identifier: GPL-3.0-or-later
"""Bucket, wheel, log limit, address and order: machines without I/O, at moments that the test says."""

import asyncio

import pytest

from openngt_service.gateway.limits import DeadlineWheel, LogLimiter, TokenBucket, address_key
from openngt_service.gateway.sequencer import Sequencer


class Item:
    def __init__(self, deadline: float | None) -> None:
        self.slot = 0
        self.deadline = deadline


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_the_wheel_gives_each_item_once_when_it_is_due_and_not_before() -> None:
    wheel: DeadlineWheel[Item] = DeadlineWheel(tick_seconds=0.25)
    early, late = Item(1.0), Item(2.0)
    wheel.schedule(late)
    wheel.schedule(early)
    assert wheel.turn(0.99) == []
    assert wheel.turn(1.25) == [early]
    assert wheel.turn(1.9) == []
    assert wheel.turn(9.0) == [late]
    assert wheel.turn(99.0) == []


def test_a_deadline_that_moved_later_is_kept_and_one_that_moved_earlier_is_met_when_scheduled_again() -> None:
    wheel: DeadlineWheel[Item] = DeadlineWheel(tick_seconds=0.25)
    item = Item(1.0)
    wheel.schedule(item)
    item.deadline = 5.0
    assert wheel.turn(2.0) == []
    item.deadline = 3.0
    wheel.schedule(item)
    assert wheel.turn(3.25) == [item]
    assert wheel.turn(9.0) == [], "the slot that it stood in before is stale"


def test_an_item_that_has_ended_is_forgotten() -> None:
    wheel: DeadlineWheel[Item] = DeadlineWheel()
    item = Item(1.0)
    wheel.schedule(item)
    item.deadline = None
    assert wheel.turn(5.0) == [] and not wheel._slots


def test_scheduling_again_and_again_does_not_pile_up() -> None:
    wheel: DeadlineWheel[Item] = DeadlineWheel(tick_seconds=0.25)
    item = Item(10.0)
    for step in range(1000):
        item.deadline = 10.0 + step
        wheel.schedule(item)
    assert sum(len(items) for items in wheel._slots.values()) == 1


def test_a_flood_of_one_kind_of_line_becomes_a_number_and_other_kinds_go_on() -> None:
    limiter = LogLimiter(burst=2, seconds=10)
    assert [limiter.admit("a", 0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert limiter.admit("b", 1.0) == 0
    assert limiter.admit("a", 10.0) == 3
    assert limiter.admit("a", 30.0) == 0


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_is_what_one_host_cannot_change_at_will(host: str, key: str) -> None:
    assert address_key(host) == key


def test_jobs_of_a_key_keep_their_order_others_do_not_wait_and_a_failure_stops_nobody() -> None:
    async def scenario() -> None:
        done: list[str] = []
        failures: list[tuple[str, str]] = []
        sequencer = Sequencer(lambda key, failure: failures.append((key, str(failure))))
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()
            done.append("a1")
            raise ValueError("a1 failed")

        async def mark(name: str) -> None:
            done.append(name)

        sequencer.submit("a", wait)
        sequencer.submit("a", lambda: mark("a2"))
        sequencer.submit("b", lambda: mark("b1"))
        assert sequencer.pending("a") == 2
        await asyncio.sleep(0.01)
        assert done == ["b1"]
        gate.set()
        assert await sequencer.drain(5)
        assert done == ["b1", "a1", "a2"] and failures == [("a", "a1 failed")] and sequencer.pending("a") == 0

    asyncio.run(scenario())


def test_drain_gives_up_on_a_job_that_hangs() -> None:
    async def scenario() -> None:
        sequencer = Sequencer(lambda key, failure: None)
        sequencer.submit("a", asyncio.Event().wait)  # type: ignore[arg-type]  # returns True, which nobody looks at
        assert not await sequencer.drain(0.01)

    asyncio.run(scenario())
