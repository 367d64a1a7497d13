# SPDX-License-Identifier: GPL-3.0-or-later
"""Both programs read the serial format alike, and nothing that a port can hold makes either lose or invent a frame."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.dirty_streams import GOLDEN_FRAMES, dirty_stream

from openngt.agent import serial_frames as agents
from openngt_service.gateway import serial_frames as services

STREAMS = 100_000
MOST_HELD = 4096 + 28

KINDS = st.sampled_from([1, 2, 3, 4])
FRAMES = st.builds(
    agents.Frame,
    KINDS,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 0xFFFFFFFF),
    # A payload is ciphertext: no header stands in it.
    st.binary(max_size=200).filter(lambda payload: b"\xffNGT" not in payload),
)


def both(stream: bytes, pieces: list[int]) -> list[agents.Frame]:
    """What the agent's reader finds; the service's must find the same, byte by byte."""
    agent, service = agents.FrameScanner(), services.FrameScanner()
    found: list[agents.Frame] = []
    theirs: list[services.Frame] = []
    for piece in cut(stream, pieces):
        found += agent.feed(piece)
        theirs += service.feed(piece)
        assert agent.held == service.held <= MOST_HELD
    assert [tuple(frame) for frame in found] == [tuple(frame) for frame in theirs]
    assert agent.skipped == service.skipped
    return found


def cut(stream: bytes, pieces: list[int]) -> Iterator[bytes]:
    at = 0
    for piece in pieces:
        yield stream[at : at + piece]
        at += piece
    yield stream[at:]


@pytest.mark.parametrize("name", GOLDEN_FRAMES)
def test_a_golden_frame_is_written_and_read_by_both(name: str) -> None:
    golden = GOLDEN_FRAMES[name]
    data = bytes.fromhex(golden["frame"])
    fields = (bytes.fromhex(golden["session"]), golden["sequence"], bytes.fromhex(golden["payload"]))
    kind = services.FrameType[golden["type"]]
    assert agents.encode(agents.Frame(int(kind), *fields)) == data
    assert services.encode(services.Frame(kind, *fields)) == data
    assert both(data, []) == [(kind, *fields)]


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 80), max_size=12))
def test_however_a_stream_is_cut_the_same_frames_come_out(frames: list[agents.Frame], pieces: list[int]) -> None:
    assert both(b"".join(map(agents.encode, frames)), pieces) == frames


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 80), max_size=12))
def test_noise_is_no_frame_and_the_next_frame_is_found(noise: bytes, pieces: list[int]) -> None:
    frame = agents.Frame(agents.HELLO, b"12345678", 0, b"")
    assert both(noise + agents.encode(frame), pieces) == [frame]


@settings(max_examples=300, deadline=None)
@given(FRAMES, st.data())
def test_a_frame_that_lost_its_end_does_not_swallow_the_next(frame: agents.Frame, data: st.DataObject) -> None:
    whole = agents.encode(frame)
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    hello = agents.Frame(agents.HELLO, b"12345678", 0, b"")
    assert both(torn + agents.encode(hello), [len(torn)]) == [hello]


def test_of_a_hundred_thousand_dirty_streams_no_frame_is_lost_and_none_invented() -> None:
    chance = random.Random(20261125)
    frames = [bytes.fromhex(golden["frame"]) for golden in GOLDEN_FRAMES.values()]
    for number in range(STREAMS):
        stream, good = dirty_stream(chance, frames)
        pieces = [chance.randrange(1, 120) for _ in range(chance.randrange(4))]
        found = [agents.encode(frame) for frame in both(stream, pieces)]
        assert found == good, f"stream {number}: {stream.hex()}"
