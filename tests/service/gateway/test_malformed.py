# SPDX-License-Identifier: GPL-3.0-or-later
"""A corpus of malformed frames (T9, T11): each is refused by name over real TLS, before the greeting and after it."""

import asyncio
import json
import struct
from typing import Any

import pytest
import uvloop
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt_service.gateway.jsonrpc import MAXIMUM_DEPTH, MAXIMUM_DIGITS, MAXIMUM_FRAME, MAXIMUM_NAME

BIG = MAXIMUM_FRAME + 1


def framed(body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I", len(body) if length is None else length) + body


def message(**fields: Any) -> bytes:
    return framed(json.dumps({"jsonrpc": "2.0", **fields}).encode())


def heartbeat(params: str) -> bytes:
    return framed(b'{"jsonrpc":"2.0","id":1,"method":"heartbeat","params":' + params.encode() + b"}")


def lengths() -> dict[str, bytes]:
    """What a header can announce."""
    announced = {"zero": 0, "one over the limit": BIG, "2 GiB": 2**31, "sign bit": 2**31 - 1, "4 GiB": 2**32 - 1}
    return {f"length: {name}": framed(b"{}" * 8, length) for name, length in announced.items()} | {
        f"length: ASCII {text!r}": text.encode() + b"\0" * 64 for text in ("GET ", "SSH-", "HELO", "\x7fELF", '{"js')
    }


def no_json() -> dict[str, bytes]:
    texts = [
        " ", "nul", "tru", "True", "None", "undefined", "'a'", "{", "}", "[", "]", "{]", "[}", '"', '"\\"', '{"a"}',
        '{"a":}', '{"a":1,}', '{,"a":1}', '{a:1}', "{'a':1}", '{"a":1}{"b":2}', '{"a":1} x', "[1,]", "[,1]", "//", "/*",
        "01", "+1", "1.", ".1", "1e", "0x1", "--1", "1_000", "- 1", "\t", "\x00", '{"a":"\x01"}', '{"a":"\n"}',
        '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\u"}', "\ufeff{}", '{"jsonrpc":"2.0",}', "<a/>", "a: 1", "---", "%YAML",
    ]  # fmt: skip
    return {f"no JSON: {text!r}": framed(text.encode()) for text in texts}


def wrong_shapes() -> dict[str, bytes]:
    wholes = ["null", "true", "0", "1.5", '"x"', "[]", "[[]]", "{}", '[{"jsonrpc":"2.0","method":"heartbeat"}]']
    shapes = {f"whole: {text}": framed(text.encode()) for text in wholes}
    for version in ("1.0", "2", "2.00", "", None, 2, 2.0, [], {}, True):
        shapes[f"version: {version!r}"] = framed(json.dumps({"jsonrpc": version, "method": "status"}).encode())
    for method in (None, 1, 1.5, True, [], {}, "x" * (MAXIMUM_NAME + 1)):
        shapes[f"method: {str(method)[:20]}"] = message(method=method, id=1)
        shapes[f"method of a notification: {str(method)[:20]}"] = message(method=method)
    for params in (None, 1, True, "x", [], [1], [{}]):
        shapes[f"params: {params!r}"] = message(method="heartbeat", id=1, params=params)
        shapes[f"params of a notification: {params!r}"] = message(method="status", params=params)
    for request_id in (None, 1.5, True, False, [], {}, [1], "x" * (MAXIMUM_NAME + 1)):
        shapes[f"id: {str(request_id)[:20]}"] = message(method="heartbeat", id=request_id, params={})
    return shapes


def wrong_answers() -> dict[str, bytes]:
    answers: dict[str, dict[str, Any]] = {
        "neither": {"id": 1},
        "nothing at all": {},
        "both": {"id": 1, "result": {}, "error": {"code": 1, "message": ""}},
        "unasked": {"id": 1, "result": {}},
        "unasked text": {"id": "1", "result": {}},
        "unasked error": {"id": 7, "error": {"code": 1, "message": ""}},
        "negative": {"id": -1, "result": {}},
        "null id": {"id": None, "result": {}},
        "no id": {"result": {}},
    }
    for request_id in (1.0, True, [], {}, "x" * (MAXIMUM_NAME + 1)):
        answers[f"id {str(request_id)[:20]}"] = {"id": request_id, "result": {}}
    for error in (None, 1, "no", [], {}, {"code": 1}, {"message": ""}, {"code": "1", "message": ""}):
        answers[f"error {error!r}"] = {"id": 1, "error": error}
    for code in (True, 1.0, None):
        answers[f"code {code!r}"] = {"id": 1, "error": {"code": code, "message": ""}}
    return {f"answer: {name}": message(**fields) for name, fields in answers.items()}


def numbers() -> dict[str, bytes]:
    texts = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400", "9" * (MAXIMUM_DIGITS + 1), "-" + "9" * 40]
    texts += ["1" * 5000, "1" + "0" * 60_000]
    found = {f"number: {text[:12]} in a value": heartbeat(f'{{"a":{text}}}') for text in texts}
    found |= {f"number: {text[:12]} in a list": heartbeat(f'{{"a":[[{text}]]}}') for text in texts}
    ids = [text for text in texts if "e" not in text and "N" not in text]
    return found | {f"number: id {text[:12]}": framed(b'{"jsonrpc":"2.0","id":' + text.encode() + b"}") for text in ids}


def depths() -> dict[str, bytes]:
    over = MAXIMUM_DEPTH  # the message itself and its params come on top
    made = {"lists": "[" * over + "]" * over, "objects": '{"a":' * over + "1" + "}" * over}
    made |= {"unclosed lists": "[" * 60_000, "unclosed objects": '{"a":' * 10_000, "mixed": '[{"a":' * 5_000}
    return {f"depth: {name}": heartbeat(f'{{"a":{text}}}') for name, text in made.items()}


def texts() -> dict[str, bytes]:
    raw = {
        "lone byte": b"\xff",
        "overlong slash": b"\xc0\xaf",
        "overlong zero": b"\xc0\x80",
        "cut sequence": b"\xe2\x82",
        "surrogate": b"\xed\xa0\x80",
        "beyond Unicode": b"\xf4\x90\x80\x80",
        "UTF-16": "ab".encode("utf-16"),
        "Latin-1": "ä".encode("latin-1"),
    }
    found = {f"text: {name}": framed(b'{"jsonrpc":"2.0","method":"' + piece + b'"}') for name, piece in raw.items()}
    found |= {f"text in a key: {name}": framed(b'{"jsonrpc":"2.0","' + piece + b'":1}') for name, piece in raw.items()}
    for escape in ("\\ud800", "\\udfff", "\\ud800\\ud800", "\\udc00\\ud800", "x\\ud83d"):
        found[f"text: escaped {escape}"] = heartbeat(f'{{"a":"{escape}"}}')
        found[f"text: escaped {escape} in a key"] = heartbeat(f'{{"{escape}":1}}')
    return found


def doubles() -> dict[str, bytes]:
    """A parser that takes the first and one that takes the last would each see another message."""
    fields = ['"jsonrpc":"2.0"', '"id":1', '"method":"heartbeat"', '"params":{}']
    whole = ",".join(fields)
    found = {f"twice: {field}": framed(f"{{{whole},{field}}}".encode()) for field in fields}
    for inner in ('{"a":1,"a":1}', '{"a":1,"b":{"c":1,"c":2}}', '{"a":[{"b":1,"b":1}]}', '{"a":1,"\\u0061":2}'):
        found[f"twice: inside {inner}"] = heartbeat(inner)
    return found


CORPUS = {
    **lengths(), **no_json(), **wrong_shapes(), **wrong_answers(), **numbers(), **depths(), **texts(), **doubles(),
}  # fmt: skip


def test_the_corpus_is_of_some_two_hundred_different_frames() -> None:
    assert len(set(CORPUS.values())) == len(CORPUS) >= 200


@pytest.mark.slow
@pytest.mark.parametrize("greeted", [False, True], ids=["before-hello", "after-hello"])
def test_each_malformed_frame_costs_its_sender_the_session_and_nobody_else(world: Any, greeted: bool) -> None:
    async def scenario() -> None:
        async with world(accepts_burst=10**6) as w:
            identity = w.enrol()
            bystander = await w.agent()
            for name, frame in CORPUS.items():
                w.events.told.clear()
                agent = await (w.agent(identity) if greeted else w.connect(identity))
                agent.send_raw(frame)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await agent.closed(), name
                assert w.events.refusals() == ["bad_frame"], name
                assert w.events.of("status") == w.events.of("heartbeat") == [], f"{name}: something of it was heard"
                agent.close()
            assert w.metric("refused_total", reason="bad_frame") == len(CORPUS)
            assert (await bystander.ask("heartbeat", {"disc_mounted": False}))["result"] == {}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
