# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/protocol.md says what the code does."""

import re
from pathlib import Path
from typing import get_args

from openngt_service.config import GatewayLimits
from openngt_service.gateway import jsonrpc
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.session import _METHODS, State
from openngt_service.ports import Refusal

PAGE = (Path(__file__).resolve().parents[3] / "docs/protocol.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


def test_every_reason_of_refusal_is_explained_and_no_other() -> None:
    assert first_cells("Reasons of refusal") == list(get_args(Refusal))


def test_an_end_is_never_a_refusal() -> None:
    assert not set(first_cells("Ends")) & set(get_args(Refusal))


def test_the_methods_of_each_state_are_those_of_the_table() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section("States"), re.MULTILINE))
    assert set(rows) == {state.value for state in State}
    for state, methods in _METHODS.items():
        assert set(re.findall(r"`(\w+)`", rows[state.value])) == set(methods)


def test_the_numbers_are_those_of_the_code() -> None:
    limits, text = Limits(), section("Limits")
    for expected in (
        f"{limits.handshake_seconds:g} s, 64 KiB | `handshake_seconds`",
        f"{limits.first_frame_seconds:g} s | `first_frame_seconds`",
        f"to its last | {limits.frame_seconds:g} s",
        f"{limits.send_seconds:g} s, or {limits.send_queue_bytes // 2**20} MiB",
        f"{limits.frames_per_second:g} a second, {limits.frames_burst} at once",
        f"{limits.unauthenticated_per_address}; the oldest",
        f"{limits.accepts_per_second:g} a second, {limits.accepts_burst:,} at once",
        f"in all | {limits.connections:,}",
        f"depth {jsonrpc.MAXIMUM_DEPTH}; integers of {jsonrpc.MAXIMUM_DIGITS} digits",
        f"{limits.silence_seconds / limits.heartbeat_seconds:g} heartbeats",
    ):
        assert expected in text, expected


def test_what_can_be_set_has_the_defaults_of_the_gateway() -> None:
    own = Limits()
    for name, value in GatewayLimits().model_dump().items():
        assert getattr(own, name) == value, name
        assert f"`{name}`" in section("Limits")
