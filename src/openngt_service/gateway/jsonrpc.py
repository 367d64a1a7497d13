# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to JSON-RPC 2.0 messages and back. Pure; every limit is checked before what it limits is allocated or parsed.

A peer's bytes are hostile until proven otherwise: each rule below has an attack behind it (threats T9 and T11).
"""

import json
import math
import re
import struct
from typing import Any, Final, NamedTuple, NoReturn

from openngt.errors import OpenNGTError

from ..ports import Refusal

__all__ = [
    "BLOCKED",
    "INVALID_PARAMS",
    "MAXIMUM_DEPTH",
    "MAXIMUM_FRAME",
    "MAXIMUM_FRAME_BEFORE_HELLO",
    "METHOD_NOT_FOUND",
    "REFUSED",
    "FrameReader",
    "Message",
    "Notification",
    "Request",
    "Response",
    "Violation",
    "decode",
    "done",
    "failure",
    "notification",
    "parse_json",
    "request",
    "result",
]

MAXIMUM_FRAME_BEFORE_HELLO: Final = 64 * 1024
MAXIMUM_FRAME: Final = 1024 * 1024
MAXIMUM_DEPTH: Final = 32
MAXIMUM_DIGITS: Final = 20  # of an integer: 64 bits and a sign; int() of a long text costs more than linear time
MAXIMUM_NAME: Final = 128  # characters of a method or of a textual id

METHOD_NOT_FOUND: Final = -32601
BLOCKED: Final = -32000  # ours: the guest's administrator does not allow it
INVALID_PARAMS: Final = -32602
REFUSED: Final = -32001  # ours: understood, and not granted

_HEADER = struct.Struct(">I")
# Possessive and with an end for unterminated strings, so that it never goes back: linear for any input.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


# An agent's heartbeat to the byte (its JSON is canonical), which is nearly all that ever comes. It breaks none of the
# rules below, and to see that costs a tenth of a parse.
_HEARTBEAT = re.compile(
    rb'\{"id":(0|[1-9][0-9]{0,17}),"jsonrpc":"2\.0","method":"heartbeat","params":\{"disc_mounted":(true|false)\}\}'
)


class Violation(Exception):
    """The peer broke a rule of the wire and is to be cut.

    `reason` is what is counted. The text names the rule and never holds what the peer sent.
    """

    def __init__(self, rule: str, reason: Refusal = "bad_frame") -> None:
        super().__init__(rule)
        self.reason: Refusal = reason


class Request(NamedTuple):
    id: int | str
    method: str
    params: dict[str, Any]


class Notification(NamedTuple):
    method: str
    params: dict[str, Any]


class Response(NamedTuple):
    """An answer: `error` is None exactly when the peer sent a result."""

    id: int | str | None
    result: Any
    error: dict[str, Any] | None


Message = Request | Notification | Response


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one unfinished frame, and of it only what has arrived."""

    __slots__ = ("_rest", "limit")

    def __init__(self, limit: int = MAXIMUM_FRAME_BEFORE_HELLO) -> None:
        self.limit = limit
        self._rest: bytearray | None = None

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._rest is not None

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of all frames that `data` completes. Raises Violation on a length that is zero or over `limit`."""
        stream: bytes | bytearray = data
        if self._rest is not None:
            self._rest += data
            stream = self._rest
        frames = []
        position, end = 0, len(stream)
        while end - position >= _HEADER.size:
            (length,) = _HEADER.unpack_from(stream, position)
            if not 0 < length <= self.limit:
                raise Violation("frame length is zero or over the limit")
            start = position + _HEADER.size
            if end - start < length:
                break
            position = start + length
            frames.append(bytes(stream[start:position]))
        self._keep(stream, position)
        return frames

    def _keep(self, stream: bytes | bytearray, position: int) -> None:
        if position == len(stream):
            self._rest = None
        elif isinstance(stream, bytes):
            self._rest = bytearray(stream[position:])
        elif position:
            del stream[:position]


def _refuse_constant(_: str) -> NoReturn:
    raise Violation("NaN or Infinity in JSON")


def _integer(text: str) -> int:
    if len(text) > MAXIMUM_DIGITS:
        raise Violation("integer of too many digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 is valid JSON and infinite in Python
        raise Violation("number beyond a double's range")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Violation("duplicate key in an object")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_refuse_constant
)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _check_depth(body: bytes) -> None:
    # No JSON is deeper than it has opening brackets: nearly every message is through after two counts in C.
    if body.count(b"{") + body.count(b"[") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        opening = body[token.start()]
        if opening in b"{[":
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise Violation("JSON nested too deeply")
        elif opening in b"}]":
            depth -= 1


def parse_json(body: bytes) -> Any:
    """Any JSON value, within the rules that hold for messages. Raises Violation."""
    _check_depth(body)
    try:
        value = _DECODER.decode(body.decode("utf-8"))
        if b"\\u" in body:  # an escaped half of a surrogate pair parses, and no UTF-8 can be made of it later
            _ENCODER.encode(value).encode("utf-8")
    except UnicodeError:
        raise Violation("invalid UTF-8 or half a surrogate pair") from None
    except ValueError:
        raise Violation("not JSON") from None
    return value


def _valid_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAXIMUM_NAME
    return isinstance(value, int) and not isinstance(value, bool)


def _response(value: dict[str, Any]) -> Response:
    answer_id, error = value.get("id"), value.get("error")
    if ("result" in value) == ("error" in value):
        raise Violation("a response has either a result or an error")
    if answer_id is not None and not _valid_id(answer_id):
        raise Violation("id is neither an integer nor a short text")
    if "error" not in value:
        return Response(answer_id, value["result"], None)
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise Violation("error without an integer code and a message")
    return Response(answer_id, None, error)


def decode(body: bytes) -> Message:
    """One frame's body as a message. Raises Violation; unknown fields are ignored."""
    heartbeat = _HEARTBEAT.fullmatch(body)
    if heartbeat is not None:
        return Request(int(heartbeat[1]), "heartbeat", {"disc_mounted": heartbeat[2] == b"true"})
    value = parse_json(body)
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise Violation("not a JSON-RPC 2.0 object")
    if "method" not in value:
        return _response(value)
    method, params = value["method"], value.get("params", {})
    if not isinstance(method, str) or len(method) > MAXIMUM_NAME:
        raise Violation("method is not a short text")
    if not isinstance(params, dict):
        raise Violation("params is not an object")
    if "id" not in value:
        return Notification(method, params)
    if not _valid_id(value["id"]):
        raise Violation("id is neither an integer nor a short text")
    return Request(value["id"], method, params)


def _frame(value: dict[str, Any], limit: int = MAXIMUM_FRAME) -> bytes:
    body = _ENCODER.encode(value).encode("utf-8")
    if len(body) > limit:
        raise OpenNGTError("INVALID_INPUT", f"message of {len(body)} bytes; this agent's link takes at most {limit}")
    return _HEADER.pack(len(body)) + body


def request(request_id: int, method: str, params: dict[str, Any], limit: int = MAXIMUM_FRAME) -> bytes:
    """A frame, length included, as the following three. INVALID_INPUT when an agent would refuse its size."""
    return _frame({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}, limit)


def notification(method: str, params: dict[str, Any]) -> bytes:
    return _frame({"jsonrpc": "2.0", "method": method, "params": params})


def result(request_id: int | str, value: dict[str, Any]) -> bytes:
    return _frame({"jsonrpc": "2.0", "id": request_id, "result": value})


def done(request_id: int | str) -> bytes:
    """`result` with nothing to tell: the answer to each heartbeat, and so worth its own short way."""
    if isinstance(request_id, str):
        return result(request_id, {})
    body = b'{"jsonrpc":"2.0","id":%d,"result":{}}' % request_id
    return _HEADER.pack(len(body)) + body


def failure(request_id: int | str, code: int, message: str) -> bytes:
    return _frame({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})
