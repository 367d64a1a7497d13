# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret reaches the log, wherever in an event it stands, and each line is one record."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from openngt_service.logging import configure_logging, redact

CANARY = "canary-9e107d9d"
KEY = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    target = io.StringIO()
    configure_logging("json", "debug", target)
    yield target
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "event",
    [
        {"token": CANARY},
        {"ca_passphrase": CANARY},
        {"params": {"client_pem": CANARY}},
        {"items": [{"private_key_pem": CANARY}]},
        {"headers": {"Authorization": CANARY}},
        {"text": f"sent Authorization: Bearer {CANARY}"},
        {"text": KEY},
        {"text": KEY[:60]},
        {"content": CANARY.encode()},
        {"new_token": [CANARY]},
        {"reason": f"openngt_{CANARY}-0123456789"},
    ],
    ids=lambda event: str(next(iter(event))),
)
def test_a_secret_is_left_out(stream: io.StringIO, event: dict[str, Any]) -> None:
    structlog.get_logger("test").info("happened", **event)
    logging.getLogger("library").warning("text %s", event.get("text", KEY))
    assert CANARY not in stream.getvalue()
    assert "(redacted)" in stream.getvalue()


def test_a_secret_in_an_exception_is_left_out(stream: io.StringIO) -> None:
    try:
        raise ValueError(KEY)
    except ValueError:
        structlog.get_logger("test").exception("failed")
    assert CANARY not in stream.getvalue()
    assert lines(stream)[0]["event"] == "failed"


def test_what_only_sounds_secret_stays() -> None:
    event = {"page_token": "p2", "token_name": "ci", "token_file": "/x", "secret_sha256": "ab", "port": 2073}
    assert redact(event) == event


def test_each_record_is_one_line_with_time_level_and_logger(stream: io.StringIO) -> None:
    structlog.get_logger("openngt.test").warning("several\nlines", name="a\nb")
    logging.getLogger("library").error("from the standard library")
    first, second = lines(stream)
    assert (first["event"], first["level"], first["logger"]) == ("several\nlines", "warning", "openngt.test")
    assert (second["event"], second["level"]) == ("from the standard library", "error")
    assert first["timestamp"].endswith("Z")
