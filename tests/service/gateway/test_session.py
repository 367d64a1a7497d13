# SPDX-License-Identifier: GPL-3.0-or-later
"""The session as a pure machine: bytes and moments in, events, bytes and deadlines out. Time is what the test says."""

import datetime
import json
import struct
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from openngt_service.gateway import session as session_module
from openngt_service.gateway.jsonrpc import FrameReader, Violation
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.session import Goodbye, Heartbeat, Hello, Reply, Session, State, Status

GOLDEN = Path(__file__).resolve().parents[2] / "fakes/messages/0.1"
WELCOME = {"protocol": 1, "session": "6f1c2d3e4f5a6b7c"}


def golden(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text())["message"])


def from_agent() -> list[Path]:
    return [
        path
        for path in sorted(GOLDEN.glob("*.json"))
        if json.loads(path.read_text())["direction"] == "agent-to-service"
    ]


def frame(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


def sent(session: Session) -> list[dict[str, Any]]:
    reader = FrameReader(2**20)
    return [json.loads(body) for body in reader.feed(session.take()[1])]


def welcomed(**limits: Any) -> Session:
    return Session(WELCOME, Limits(**limits), 100.0)


def established(**limits: Any) -> Session:
    session = welcomed(**limits)
    session.receive(frame(golden("hello")), 100.0)
    session.admit({})
    session.take()
    return session


def test_the_answer_to_a_heartbeat_goes_before_what_waits() -> None:
    session = established()
    session.call("capabilities.set", {"capabilities": {}}, "token")
    session.receive(frame(golden("heartbeat")), 101.0)
    assert ["result" in message for message in sent(session)] == [True, False]


def shape(value: Any) -> Any:
    """Field names and types, without values."""
    if isinstance(value, dict):
        return {key: shape(field) for key, field in value.items()}
    return type(value)


@pytest.mark.parametrize("path", from_agent(), ids=lambda path: path.stem)
def test_every_golden_message_of_an_agent_is_understood_in_its_state(path: Path) -> None:
    document = json.loads(path.read_text())
    message = document["message"]
    session = welcomed() if document["state"] == "welcomed" else established()
    if "method" in message:
        [event] = session.receive(frame(message), 101.0)
        assert isinstance(
            event, {"hello": Hello, "heartbeat": Heartbeat, "status": Status, "goodbye": Goodbye}[message["method"]]
        )
        return
    call_id = session.call("any", {}, "token")  # the service numbers its own calls
    [reply] = session.receive(frame({**message, "id": call_id}), 101.0)
    assert reply == Reply("token", message.get("result"), message.get("error"))


def test_what_the_session_sends_has_the_shape_of_the_golden_messages() -> None:
    session = Session(golden("welcome-link")["params"], Limits(), 100.0)
    assert sent(session) == [golden("welcome-link")]
    session.receive(frame(golden("hello")), 100.0)
    session.admit(golden("hello-result")["result"]["capabilities"])
    assert sent(session) == [golden("hello-result")]
    session.receive(frame(golden("heartbeat")), 101.0)
    assert sent(session) == [golden("heartbeat-result")]
    calls = ("identity-rotate", "identity-request", "identity-rotate-own-key", "capabilities-set", "guest-shutdown")
    for name in (*calls, "guest-reboot"):
        call = golden(name)
        call_id = session.call(call["method"], call["params"], "token")
        assert sent(session) == [{**call, "id": call_id}]
    session.close("shutdown")
    assert sent(session) == [golden("goodbye-from-service")]


def test_a_hello_of_another_protocol_is_refused_as_the_golden_message_says() -> None:
    session = welcomed()
    session.take()
    hello = golden("hello")
    hello["params"]["protocol"] = 2
    assert session.receive(frame(hello), 101.0) == []
    [answer] = sent(session)
    assert shape(answer) == shape(golden("hello-refused"))
    assert answer["error"]["code"] == golden("hello-refused")["error"]["code"]


EVERY_METHOD = ["hello", "heartbeat", "status", "goodbye", "welcome", "identity.rotate", "capabilities.set", "__init__"]
ALLOWED = {
    State.WELCOMED: {"hello", "goodbye"},
    State.GREETED: {"heartbeat", "goodbye"},
    State.ESTABLISHED: {"heartbeat", "status", "goodbye"},
}


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize("state", ALLOWED, ids=lambda state: state.value)
def test_only_the_methods_of_a_state_exist_in_it(state: State, method: str) -> None:
    session = welcomed()
    if state is not State.WELCOMED:
        session.receive(frame(golden("hello")), 100.0)
    if state is State.ESTABLISHED:
        session.admit({})
    session.take()
    params = {**golden("hello")["params"], "reason": "r"}
    events = session.receive(frame({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}), 101.0)
    if method in ALLOWED[state]:
        assert len(events) == 1
    else:
        assert events == []
        assert [answer["error"]["code"] for answer in sent(session)] == [-32601]


def test_an_unknown_notification_is_ignored() -> None:
    session = established()
    assert session.receive(frame(golden("unknown-notification")), 101.0) == [] and sent(session) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_version", None),
        ("agent_version", ""),
        ("agent_version", "x" * 129),
        ("boot_id", 5),
        ("status", []),
        ("time", 1764000000),
        ("time", "yesterday"),
        ("time", "2026-11-21T07:00:02"),
    ],
)
def test_a_hello_with_a_wrong_field_gets_an_error_that_names_it(field: str, value: object) -> None:
    session = welcomed()
    session.take()
    hello = golden("hello")
    hello["params"][field] = value
    assert session.receive(frame(hello), 100.0) == []
    [answer] = sent(session)
    assert answer["error"]["code"] == -32602 and field in answer["error"]["message"]
    assert session.state is State.WELCOMED


def test_an_agents_clock_is_read_where_it_tells_it() -> None:
    noon = datetime.datetime(2026, 11, 21, 7, 1, 2, tzinfo=datetime.UTC)
    session = established()
    [told, silent] = session.receive(frame(golden("heartbeat-with-time")) + frame(golden("heartbeat")), 101.0)
    assert (told, silent) == (Heartbeat(True, noon), Heartbeat(True, None))
    assert session.receive(frame({**golden("heartbeat"), "params": {"time": []}}), 101.0) == []
    assert "time" in sent(session)[-1]["error"]["message"]


@pytest.mark.parametrize("answer_id", [1, 2, "1", None, -1])
def test_an_answer_to_nothing_that_was_asked_is_a_violation(answer_id: object) -> None:
    session = established()
    if answer_id == 1:  # answered twice
        session.call("any", {}, "token")
        session.receive(frame({"jsonrpc": "2.0", "id": 1, "result": {}}), 101.0)
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": answer_id, "error": {"code": 1, "message": "m"}}
    with pytest.raises(Violation, match="nothing that was asked"):
        session.receive(frame(answer), 101.0)


def test_another_vms_identity_in_a_body_is_never_read() -> None:
    session = welcomed()
    hello = golden("hello")
    hello["params"] |= {"vm_uuid": "another", "ngt_uuid": "another", "generation": 99}
    [event] = session.receive(frame(hello), 100.0)
    assert "another" not in repr((event.agent_version, event.boot_id))
    assert set(get_type_hints(Hello)) == {"agent_version", "boot_id", "status", "time"}


def test_the_large_frame_limit_holds_only_after_hello_is_answered() -> None:
    status = frame({"jsonrpc": "2.0", "method": "status", "params": {"status": {"x": "y" * 100_000}}})
    [event] = established().receive(status, 101.0)
    assert isinstance(event, Status)
    greeted = welcomed()
    greeted.receive(frame(golden("hello")), 100.0)
    for session in (welcomed(), greeted):
        with pytest.raises(Violation, match="length"):
            session.receive(status, 101.0)


def test_silence_is_judged_by_the_state() -> None:
    session = welcomed(first_frame_seconds=5, heartbeat_seconds=4, frame_seconds=9)
    assert (session.deadline, session.overdue()) == (105.0, "first_frame_timeout")
    session.receive(b"\0", 103.0)
    assert session.deadline == 105.0, "half a frame buys no time before hello"
    session.receive(frame(golden("hello"))[1:], 104.0)
    assert (session.deadline, session.overdue()) == (114.0, "heartbeat_timeout")
    session.receive(b"\0", 110.0)
    assert (session.deadline, session.overdue()) == (119.0, "frame_timeout")
    session.receive(b"\0", 118.0)
    assert session.deadline == 119.0, "one byte at a time buys no time"


def test_an_agent_that_sends_faster_than_it_has_reason_to_is_cut_and_one_that_does_not_is_kept() -> None:
    beat = frame(golden("heartbeat"))
    session = established(frames_per_second=10, frames_burst=20)
    for second in range(200):
        session.receive(beat * 9, 101.0 + second)
    with pytest.raises(Violation) as caught:
        session.receive(beat * 40, 302.0)
    assert caught.value.reason == "frame_rate"


def test_a_closing_session_drops_what_still_comes() -> None:
    session = established()
    session.close("stopping")
    assert session.receive(b"\xff\xff\xff\xff garbage", 101.0) == []


def test_methods_are_a_table_and_not_a_lookup_by_name() -> None:
    source = Path(session_module.__file__).read_text()
    assert "getattr" not in source and "__dict__" not in source
