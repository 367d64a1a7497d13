# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a guest without an agent writes to its port, in all that it may write beside them (T7, T8)."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes.guest_port import DATA, HELLO, frame_of
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt_service.gateway.serial_records import MARK, MAXIMUM_RECORD, RecordScanner

from .test_serial import Ports, Scenario, World, serial, sockets  # noqa: F401  fixtures

RECORD = {"nonce": "ab" * 16, "status": "done", "message": "grün \u202e"}
LINE = MARK + json.dumps(RECORD).encode() + b"\n"
FRAME = frame_of(DATA, bytes(8), 3, bytes(range(256)))

STREAMS: dict[str, tuple[bytes, int]] = {
    "a line": (LINE, 1),
    "a line of a terminal": (LINE.replace(b"\n", b"\r\n"), 1),
    "two lines": (LINE * 2, 2),
    "between frames": (FRAME + b"\n" + LINE + FRAME + LINE, 2),
    "after half a frame": (FRAME[:40] + LINE, 1),
    "after half a mark": (MARK[:9] + LINE, 1),
    "after half a line": (LINE[:40] + LINE, 1),
    "a line that a frame cuts in two": (LINE[:40] + FRAME + LINE[40:], 0),
    "no end": (LINE[:-1], 0),
    "no JSON": (MARK + b"{oops\n", 0),
    "no object": (MARK + b"[1]\n", 0),
    "empty": (MARK + b"\n", 0),
    "duplicate keys": (MARK + b'{"nonce":"a","nonce":"b"}\n', 0),
    "not UTF-8": (MARK + b'{"nonce":"\xff"}\n', 0),
    "half a surrogate pair": (MARK + b'{"nonce":"\\ud800"}\n', 0),
    "NaN": (MARK + b'{"nonce":NaN}\n', 0),
    "a bomb of brackets": (MARK + b'{"a":' + b"[" * 3000 + b"\n", 0),
    "as long as may be": (MARK + b'{"a":"' + b"x" * (MAXIMUM_RECORD - 8) + b'"}\n', 1),
    "too long": (MARK + b'{"a":"' + b"x" * (MAXIMUM_RECORD - 7) + b'"}\n' + LINE, 1),
    "marks alone": (MARK * 5000 + LINE, 1),
    "noise": (random.Random(5).randbytes(50_000) + b"\n" + LINE, 1),
}


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS.keys())
def test_records_are_found_in_any_bytes_however_they_come(case: tuple[bytes, int], size: int) -> None:
    stream, wanted = case
    scanner, found = RecordScanner(), []
    for start in range(0, len(stream), size):
        found += scanner.feed(stream[start : start + size])
        assert scanner.held <= len(MARK) + MAXIMUM_RECORD + 1
    assert len(found) == wanted
    assert all(record == RECORD or set(record) == {"a"} for record in found)


def test_a_record_is_told_as_that_ports_vms_and_the_link_goes_on(
    serial: Callable[[Scenario], None],  # noqa: F811
) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        one, other = w.enrol(), w.enrol()
        async with ports.of(one) as port, ports.of(other) as others_port:
            await ports.listener.look()
            await port.attached.wait()
            await others_port.attached.wait()
            port.write(b"\x00garbage\n" + LINE)
            others_port.write(MARK + b'{"nonce":"other"}\n')
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(w.events.of("recorded")) < 2:
                    await asyncio.sleep(0.01)
            told: dict[str, Any] = dict(w.events.of("recorded"))
            assert told == {one.vm_uuid: RECORD, other.vm_uuid: {"nonce": "other"}}
            agent = await ports.linked(port, one)
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}

    serial(scenario)


def test_a_guest_that_repeats_itself_without_end_is_heard_now_and_then(
    serial: Callable[[Scenario], None],  # noqa: F811
) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            await port.attached.wait()
            port.write(LINE * 2000 + frame_of(HELLO, b"abcd" + bytes(4)))
            await port.frame()
            async with asyncio.timeout(30):
                while (await port.frame())[0] != 2:  # the ACK: all before it was read
                    pass
            assert 1 <= len(w.events.of("recorded")) <= 40

    serial(scenario)
