# SPDX-License-Identifier: GPL-3.0-or-later
"""10^5 hostile inputs for frames and messages, the same ones each time: no crash, no hang, bounded memory.

The generator mutates golden messages, so that its inputs get past the first checks; hypothesis adds small cases that
nobody thought of, and shrinks what it finds.
"""

import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openngt_service.gateway import jsonrpc
from openngt_service.gateway.jsonrpc import FrameReader, Violation
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.session import Session

GOLDEN = Path(__file__).resolve().parents[2] / "fakes/messages/0.1"
BODIES = [
    json.dumps(json.loads(path.read_text())["message"], separators=(",", ":")).encode()
    for path in sorted(GOLDEN.glob("*.json"))
]
# Pieces that break parsers.
SPICE = [
    b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 30, b"[" * 40, b"{" * 40, b"]}", b'"', b"\\", b"\\ud800",
    b"\\u0000", b"\xff", b"\xc0\xaf", b"\xef\xbb\xbf", b"\0", b",", b":", b"[]", b"{}", b'"id":1,', b'"jsonrpc":"1.0",',
    b'"method":"__class__",', b'"params":[],', b'"params":null,', b'"id":null,', b'"result":{},', b"true", b"\n" * 50,
]  # fmt: skip
Mutation = Callable[[random.Random, bytearray], None]


def flip(rng: random.Random, body: bytearray) -> None:
    for _ in range(rng.randint(1, 4)):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)


def cut(rng: random.Random, body: bytearray) -> None:
    start = rng.randrange(len(body) + 1)
    del body[start : start + rng.randint(1, 30)]


def season(rng: random.Random, body: bytearray) -> None:
    at = rng.randrange(len(body) + 1)
    body[at:at] = rng.choice(SPICE)


def replace_value(rng: random.Random, body: bytearray) -> None:
    colons = [at for at, byte in enumerate(body) if byte == ord(":")]
    if colons:
        at = rng.choice(colons) + 1
        end = min((body.find(stop, at) for stop in b",}" if body.find(stop, at) >= 0), default=len(body))
        body[at:end] = rng.choice(SPICE)


def double(rng: random.Random, body: bytearray) -> None:
    start = rng.randrange(len(body) + 1)
    body[start:start] = body[start : start + rng.randint(1, 60)]


MUTATIONS: list[Mutation] = [flip, cut, season, replace_value, double]


def hostile_body(rng: random.Random) -> bytes:
    body = bytearray(rng.choice(BODIES))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        rng.choice(MUTATIONS)(rng, body)
    return bytes(body)


def hostile_stream(rng: random.Random) -> bytes:
    stream = b""
    for _ in range(rng.randint(1, 3)):
        body = hostile_body(rng)
        length = len(body) if rng.random() < 0.9 else rng.choice((0, 1, len(body) + 3, 65537, 2**31, 2**32 - 1))
        stream += struct.pack(">I", length) + body
    return stream


def feed(session: Session, stream: bytes, rng: random.Random) -> str:
    """What became of it; anything but an event, an answer or a Violation escapes and fails the test."""
    try:
        step = rng.choice((7, 100, 1000, 10_000, 10_000, 10_000))
        for position in range(0, len(stream), step):
            session.receive(stream[position : position + step], 100.0)
    except Violation as violation:
        assert violation.reason == "bad_frame"
        return "refused"
    answered = session.take()[1]
    FrameReader(2**20).feed(answered)
    return "answered" if answered else "ignored"


@pytest.mark.slow
def test_a_hundred_thousand_hostile_streams_neither_crash_nor_hang_nor_fill_the_memory() -> None:
    rng = random.Random(20261121)
    limits = Limits(frames_burst=10**9)
    outcomes: dict[str, int] = {"refused": 0, "answered": 0, "ignored": 0}
    for number in range(100_000):
        traced = number % 100 == 0  # tracing all of them would take minutes
        if traced:
            tracemalloc.start()
        session = Session({}, limits, 100.0)
        session.take()
        if number % 2:
            session.receive(struct.pack(">I", len(HELLO)) + HELLO, 100.0)
            session.admit({})
            session.take()
        outcomes[feed(session, hostile_stream(rng), rng)] += 1
        if traced:
            assert tracemalloc.get_traced_memory()[1] < 256 * 1024
            tracemalloc.stop()
    assert min(outcomes.values()) > 1000, f"the generator reaches every outcome: {outcomes}"


HELLO = json.dumps(json.loads((GOLDEN / "hello.json").read_text())["message"]).encode()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_violation(body: bytes) -> None:
    try:
        jsonrpc.decode(body)
    except Violation:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0")},
        optional={"id": JSON, "method": JSON, "params": JSON, "result": JSON, "error": JSON},
    )
)
def test_any_object_in_the_shape_of_a_message_is_handled(value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    session = Session({}, Limits(), 100.0)
    try:
        session.receive(struct.pack(">I", len(body)) + body, 100.0)
    except Violation:
        return


@pytest.mark.parametrize(
    "body",
    [b'"' + b'\\"' * 500_000, b'"' * 1_000_000, b'{"a":"' + b"\\" * 1_000_000, b"[{" * 500_000, b"1" * 1_000_000],
    ids=["escaped quotes", "quotes", "backslashes", "brackets", "digits"],
)
def test_a_megabyte_made_to_be_slow_is_refused_in_linear_time(body: bytes) -> None:
    begun = time.thread_time()
    with pytest.raises(Violation):
        jsonrpc.decode(b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[" + body)
    assert time.thread_time() - begun < 5.0, "quadratic would take minutes"
