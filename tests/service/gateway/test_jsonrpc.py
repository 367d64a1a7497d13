# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames and messages: what parses, and a corpus of what must not."""

import json
import struct
import tracemalloc

import pytest

from openngt.agent import strict_json
from openngt.errors import OpenNGTError
from openngt_service.gateway import jsonrpc
from openngt_service.gateway.jsonrpc import FrameReader, Notification, Request, Response, Violation

RULES: dict[str, list[bytes]] = {
    "not JSON": [
        b" ",
        b"{",
        b"}",
        b"{}{}",
        b'{"jsonrpc":"2.0",}',
        b'{"jsonrpc":"2.0" "method":"a"}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","method":"a"}\0',
        b'{"jsonrpc":"2.0","method":"a\nb"}',
        b'{"jsonrpc":"2.0","method":"\\x41"}',
        b'{"jsonrpc":"2.0","method":"\\u12"}',
        b'{"jsonrpc":"2.0","id":01,"method":"a"}',
        b'{"jsonrpc":"2.0","id":+1,"method":"a"}',
        b'{"jsonrpc":"2.0","id":0x1,"method":"a"}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"a"}',
        b"// comment\n{}",
        b'"\\',
        b'{"a":"' + b"\\" * 4097,
    ],
    "invalid UTF-8": [
        b'{"jsonrpc":"2.0","method":"\xff"}',
        b'{"jsonrpc":"2.0","method":"\xc0\xaf"}',
        b'{"jsonrpc":"2.0","method":"\xed\xa0\x80"}',
        b'{"jsonrpc":"2.0","method":"\xf8\x88\x80\x80\x80"}',
        b'{"jsonrpc":"2.0","method":"\\ud800"}',
        b'{"jsonrpc":"2.0","method":"a","params":{"\\uDFFF":1}}',
        '{"jsonrpc":"2.0","method":"a"}'.encode("utf-16"),
    ],
    "NaN or Infinity": [
        b'{"jsonrpc":"2.0","method":"a","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","method":"a","params":{"x":Infinity}}',
        b'{"jsonrpc":"2.0","method":"a","params":{"x":-Infinity}}',
    ],
    "double's range": [b'{"jsonrpc":"2.0","method":"a","params":{"x":1e999}}', b"[-1.0e400]"],
    "too many digits": [
        b'{"jsonrpc":"2.0","id":' + b"9" * 21 + b',"method":"a"}',
        b'{"jsonrpc":"2.0","method":"a","params":{"x":' + b"1" * 60_000 + b"}}",
    ],
    "duplicate key": [
        b'{"jsonrpc":"2.0","method":"a","method":"b"}',
        b'{"jsonrpc":"2.0","method":"a","params":{"x":{"y":1,"y":1}}}',
        b'{"jsonrpc":"2.0","method":"a","m\\u0065thod":"b"}',
    ],
    "nested too deeply": [
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b"[" * 60_000,
        b'{"a":"' + b"[" * 40 + b'","b":' + b"[" * 33 + b"]" * 33 + b"}",
        b'{"a":"\\"' + b"{" * 40 + b'","b":' + b"[{}," * 40,
    ],
    "not a JSON-RPC 2.0 object": [
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b'[{"jsonrpc":"2.0","method":"a"}]',
        b"{}",
        b'{"method":"a"}',
        b'{"jsonrpc":"1.0","method":"a"}',
        b'{"jsonrpc":2.0,"method":"a"}',
    ],
    "method is not": [
        b'{"jsonrpc":"2.0","method":null}',
        b'{"jsonrpc":"2.0","method":1}',
        b'{"jsonrpc":"2.0","method":["a"]}',
        b'{"jsonrpc":"2.0","method":"' + b"a" * 129 + b'"}',
    ],
    "params is not": [
        b'{"jsonrpc":"2.0","method":"a","params":null}',
        b'{"jsonrpc":"2.0","method":"a","params":[1]}',
        b'{"jsonrpc":"2.0","method":"a","params":"x"}',
    ],
    "id is neither": [
        b'{"jsonrpc":"2.0","method":"a","id":null}',
        b'{"jsonrpc":"2.0","method":"a","id":true}',
        b'{"jsonrpc":"2.0","method":"a","id":1.0}',
        b'{"jsonrpc":"2.0","method":"a","id":{}}',
        b'{"jsonrpc":"2.0","method":"a","id":"' + b"a" * 129 + b'"}',
        b'{"jsonrpc":"2.0","id":[1],"result":{}}',
    ],
    "either a result or an error": [
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}',
    ],
    "error without": [
        b'{"jsonrpc":"2.0","id":1,"error":null}',
        b'{"jsonrpc":"2.0","id":1,"error":"text"}',
        b'{"jsonrpc":"2.0","id":1,"error":{"message":"m"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":true,"message":"m"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":2}}',
    ],
}


@pytest.mark.parametrize(("rule", "body"), [(rule, body) for rule, bodies in RULES.items() for body in bodies])
def test_a_malformed_message_is_refused_by_the_rule_it_breaks(rule: str, body: bytes) -> None:
    with pytest.raises(Violation, match=rule) as caught:
        jsonrpc.decode(body)
    assert caught.value.reason == "bad_frame"
    assert len(str(caught.value)) < 80, "the text of a violation never carries what was sent"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"a"}', Request(1, "a", {})),
        (b'{"jsonrpc":"2.0","id":"x","method":"a","params":{"n":-1}}', Request("x", "a", {"n": -1})),
        (b'{"jsonrpc":"2.0","method":"a","new":[]}', Notification("a", {})),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', Response(1, None, None)),
        (
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m"}}',
            Response(None, None, {"code": -1, "message": "m"}),
        ),
        (
            b'{"jsonrpc":"2.0","method":"\\ud83d\\ude00","params":{"n":9223372036854775807,"f":1.5e300}}',
            Notification("\U0001f600", {"n": 2**63 - 1, "f": 1.5e300}),
        ),
    ],
)
def test_messages_parse_and_unknown_fields_are_ignored(body: bytes, message: object) -> None:
    assert jsonrpc.decode(body) == message


def test_brackets_in_strings_are_no_depth_and_32_levels_are_allowed() -> None:
    deep: object = 1
    for _ in range(30):
        deep = [deep]
    params = {"text": '\\"[{' * 100, "deep": deep}
    body = json.dumps({"jsonrpc": "2.0", "method": "a", "params": params}).encode()
    assert jsonrpc.decode(body) == Notification("a", params)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_frames_are_found_however_the_stream_is_cut(size: int) -> None:
    bodies = [b"a", b"bc" * 50, b"d" * 7]
    stream = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    reader, found = FrameReader(), []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == bodies and not reader.partial


def test_a_frame_that_has_begun_is_partial_until_it_ends() -> None:
    reader = FrameReader()
    assert reader.feed(b"\0\0") == [] and reader.partial
    assert reader.feed(b"\0\1") == [] and reader.partial
    assert reader.feed(b"x\0") == [b"x"] and reader.partial


@pytest.mark.parametrize("length", [0, 64 * 1024 + 1, 2**31, 2**32 - 1])
def test_a_length_beyond_the_limit_is_refused_on_its_header_alone(length: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Violation, match="length"):
            FrameReader().feed(struct.pack(">I", length) + b"x" * 10)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_an_announced_frame_takes_no_more_memory_than_what_arrived() -> None:
    reader = FrameReader(jsonrpc.MAXIMUM_FRAME)
    tracemalloc.start()
    try:
        reader.feed(struct.pack(">I", jsonrpc.MAXIMUM_FRAME) + b"x")
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_what_is_encoded_is_a_frame_that_decodes_to_the_same() -> None:
    frames = (
        jsonrpc.request(1, "a", {"ü": 1})
        + jsonrpc.notification("b", {})
        + jsonrpc.result("x", {})
        + jsonrpc.failure(2, -1, "m")
    )
    assert [jsonrpc.decode(body) for body in FrameReader().feed(frames)] == [
        Request(1, "a", {"ü": 1}),
        Notification("b", {}),
        Response("x", {}, None),
        Response(2, None, {"code": -1, "message": "m"}),
    ]


@pytest.mark.parametrize("request_id", [0, -1, 2**63, "x", 'quote " and ü'])
def test_the_short_way_to_an_empty_result_leads_to_the_same_bytes(request_id: int | str) -> None:
    assert jsonrpc.done(request_id) == jsonrpc.result(request_id, {})


def test_a_message_that_an_agent_would_refuse_for_its_size_is_not_sent() -> None:
    with pytest.raises(OpenNGTError) as caught:
        jsonrpc.request(1, "a", {"x": "y" * jsonrpc.MAXIMUM_FRAME})
    assert caught.value.code == "INVALID_INPUT" and len(caught.value.message) < 200


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("request_id", [0, 7, 10**18 - 1, 10**18, -1])
def test_the_short_way_to_a_heartbeat_finds_what_a_parse_finds(request_id: int, mounted: bool) -> None:
    message = {"jsonrpc": "2.0", "id": request_id, "method": "heartbeat", "params": {"disc_mounted": mounted}}
    body = strict_json.dump(message)
    assert jsonrpc.decode(body) == jsonrpc.decode(b" " + body) == Request(request_id, "heartbeat", message["params"])


@pytest.mark.parametrize(
    ("number", "rest", "rule"),
    [
        (b"01", b"}}", "not JSON"),
        (b"1" * 21, b"}}", "too many digits"),
        (b"1.0", b"}}", "id is neither"),
        (b"1", b"}}}", "not JSON"),
        (b"1", b',"disc_mounted":true}}', "duplicate key"),
        (b"1", b'},"id":1}', "duplicate key"),
        (b"1", b"}}\0", "not JSON"),
    ],
)
def test_what_only_looks_like_a_heartbeat_is_refused(number: bytes, rest: bytes, rule: str) -> None:
    head = b'{"id":' + number + b',"jsonrpc":"2.0","method":"heartbeat","params":{"disc_mounted":false'
    with pytest.raises(Violation, match=rule):
        jsonrpc.decode(head + rest)
