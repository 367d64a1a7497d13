# SPDX-License-Identifier: GPL-3.0-or-later
"""F24: agents of two release lines before this service and of one after it work, and the table says so."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_client import AgentClient

from openngt.errors import OpenNGTError
from openngt.install.support import DISTRIBUTIONS
from openngt.install.windows.versions import VERSIONS
from openngt.version import __version__
from openngt_service.compatibility.judge import Line, distributions, judge, line_of, lines, order
from openngt_service.gateway import jsonrpc
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.session import Session

MESSAGES = Path(__file__).resolve().parents[2] / "fakes/messages"
OURS = MESSAGES / line_of(__version__)
Play = Callable[..., None]

TABLE = [Line("0.3", "0.1", "0.4")]


def message(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_text())["message"])


def test_each_golden_message_belongs_to_a_release_line() -> None:
    assert not list(MESSAGES.glob("*.json")), "put it into the folder of its release line"
    assert {path.name for path in MESSAGES.iterdir() if path.is_dir()} >= {line_of(__version__), "older", "newer"}


def test_this_service_has_a_row_and_rows_reach_two_lines_back_and_one_ahead() -> None:
    services = [line.service for line in lines()]
    assert line_of(__version__) == services[-1] and services == sorted(services, key=order)
    for place, line in enumerate(lines()):
        assert order(line.oldest_agent) <= order(services[max(0, place - 2)])
        assert order(line.newest_agent) > order(line.service)


@pytest.mark.parametrize(
    ("agent", "state"),
    [
        ("0.1.0", "supported"),
        ("0.1.0rc1", "supported"),
        ("0.2.9", "supported"),
        ("0.3.0", "supported"),
        ("0.4.17", "supported"),
        ("0.0.9", "too_old"),
        ("0.5.0", "too_new"),
        ("1.0.0", "too_new"),
        ("odd", "too_old"),
        ("9" * 5000, "too_new"),
        (None, "unknown"),
    ],
)
def test_an_agent_is_judged_by_its_release_line(agent: str | None, state: str) -> None:
    support = judge(agent, "0.3.2", TABLE)
    told = support.to_dict()
    assert support.state == state
    assert (told["code"], bool(told["remedy"])) == (("VERSION_UNSUPPORTED", True) if "too" in state else (None, False))
    assert judge(agent, "7.0.0", TABLE).state == "unknown"


def test_the_table_of_guests_is_the_one_that_the_installer_goes_by() -> None:
    rows = json.loads(json.dumps([row._asdict() for row in DISTRIBUTIONS]))
    windows = {row["ids"][0]: tuple(row["versions"]) for row in distributions() if row["family"] == "windows"}
    assert rows == [row for row in distributions() if row["family"] != "windows"]
    assert windows == VERSIONS


@pytest.mark.parametrize("folder", [OURS, MESSAGES / "older", MESSAGES / "newer"], ids=lambda folder: folder.name)
def test_what_an_agent_of_each_line_says_is_understood(folder: Path) -> None:
    session = Session(message(OURS, "welcome-link")["params"], Limits(), 100.0)
    [hello] = session.receive(frame(message(folder, "hello")), 100.0)
    assert hello.agent_version == message(folder, "hello")["params"]["agent_version"]
    session.admit({})
    session.take()
    [_] = session.receive(frame(message(folder, "heartbeat")), 101.0)
    for path in sorted(folder.glob("unknown-*.json")):
        found = json.loads(path.read_text())
        if found["direction"] == "agent-to-service" and "method" in found["message"]:
            assert session.receive(frame(found["message"]), 101.0) == []


def frame(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize("line", ["older", "newer"])
def test_it_is_linked_and_what_it_does_not_know_has_a_code(play: Play, world: Any, line: str) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent: AgentClient = await w.connect(identity)
            await agent.start(**message(MESSAGES / line, "hello")["params"])
            session = w.gateway.session(identity.vm_uuid)
            assert session.agent_version == message(MESSAGES / line, "hello")["params"]["agent_version"]
            if line == "newer":
                unknown = message(MESSAGES / line, "unknown-request")
                agent.send(message(MESSAGES / line, "unknown-notification"))
                answer = await agent.ask(unknown["method"], unknown["params"])
                assert answer["error"]["code"] == jsonrpc.METHOD_NOT_FOUND
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "agent.upgrade.offer", {}))
            asked = await agent.read()
            assert asked is not None
            agent.send({**message(OURS, "agent-upgrade-offer-too-old"), "id": asked["id"]})
            with pytest.raises(OpenNGTError) as caught:
                await call
            assert caught.value.code == "AGENT_TOO_OLD" and caught.value.details["agent_code"] == -32601
            assert (await agent.ask("heartbeat", message(MESSAGES / line, "heartbeat")["params"]))["result"] == {}

    play(scenario)
