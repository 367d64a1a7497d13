# SPDX-License-Identifier: GPL-3.0-or-later
"""What strangers send, made by hypothesis: refused or understood, in bounded memory. The suite has the seeded half."""

import json
import tracemalloc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from openngt.agent import manifest, strict_json
from openngt.agent.framing import MOST_BEFORE_HELLO, FrameReader, encode

from .workshop import Ca, Disc

EXAMPLES = 250
MEGABYTES = 1024 * 1024

NAMES = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(NAMES, st.lists(SCALARS, max_size=2), max_size=2)
GOOD = json.loads(Disc(Ca("fuzz"), b"agent").files()["manifest.json"])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_json_writes_is_read_as_it_was_meant(value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    try:
        found = strict_json.load_object(data, 65536)
    except ValueError as refusal:
        assert any(word in str(refusal) for word in ("digits", "deeper", "more than"))
        return
    assert found == value
    assert strict_json.load_object(strict_json.dump(found), 1 << 20) == value


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_valueerror(data: bytes) -> None:
    try:
        found = strict_json.load_object(data, 100)
    except ValueError:
        return
    assert found == json.loads(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES, min_size=1, max_size=3))
def test_a_manifest_with_any_field_replaced_is_refused_or_means_the_same(fields: dict[str, Any]) -> None:
    data = json.dumps({**GOOD, **fields}).encode()
    try:
        found = manifest.parse(data)
    except ValueError:
        return
    for entry in found.files:
        assert not entry.path.startswith("/") and ".." not in entry.path.split("/")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_path_of_a_manifest_leaves_its_folder(parts: list[str]) -> None:
    row = {"path": "/".join(parts), "size": 0, "sha256": "0" * 64}
    try:
        found = manifest.parse(json.dumps({**GOOD, "files": [*GOOD["files"], row]}).encode())
    except ValueError:
        return
    for part in found.files[-1].path.split("/"):
        assert part not in ("", ".", "..") and "\0" not in part and "\\" not in part


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.binary(min_size=2, max_size=300), max_size=5), st.lists(st.integers(1, 200), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream, reader, found = b"".join(map(encode, bodies)), FrameReader(), []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
        while taken := reader.take():
            found += taken
    assert found == bodies


def test_bombs_cost_no_memory() -> None:
    """The worst of each kind that fits the limits."""
    tracemalloc.start()
    try:
        for data in (
            b'{"a":' + b"[" * 30 + b"1," * 20000 + b"1" + b"]" * 30 + b"}",
            b'{"a":"' + b"\\u0000" * 10000 + b'"}',
            b"{" + b",".join(b'"%d":0' % n for n in range(6000)) + b"}",
            b"[" * MOST_BEFORE_HELLO,
        ):
            reader = FrameReader()
            reader.feed(encode(data[:MOST_BEFORE_HELLO]))
            for body in reader.take():
                try:
                    strict_json.load_object(body, MOST_BEFORE_HELLO)
                except ValueError:
                    continue
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * MEGABYTES
