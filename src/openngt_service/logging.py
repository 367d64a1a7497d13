# SPDX-License-Identifier: GPL-3.0-or-later
"""One log for the service and the libraries below it: JSON lines or a console form, on stderr, without secrets."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, TextIO

import structlog

__all__ = ["configure_logging", "redact"]

SECRET_KEY = re.compile(r"token|password|passphrase|private_key|client_pem|secret|authorization", re.IGNORECASE)
SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bBearer\s+[^\s\"']+"
    r"|\bopenngt_[A-Za-z0-9_-]{16,}",
    re.DOTALL,
)
REDACTED = "(redacted)"


def redact(value: Any, key: str = "") -> Any:
    """The value without secrets: what stands under a telling key, key blocks and bearer tokens inside any text.

    A second line of defence; nothing is logged in the hope of it. Names of secrets (`page_token`, `token_name`) stay.
    """
    if key and SECRET_KEY.search(key) and not key.endswith(("_name", "_sha256", "_file", "page_token")):
        return REDACTED if value is not None else None
    if isinstance(value, str):
        return SECRET_TEXT.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {name: redact(item, str(name)) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [redact(item) for item in value]
    return REDACTED if isinstance(value, bytes | bytearray) else value


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value if name.startswith("_") else redact(value, name) for name, value in event.items()}


def configure_logging(
    form: Literal["json", "console"] = "console", level: str = "info", stream: TextIO | None = None
) -> None:
    """Send structlog's and the standard library's records to `stream` (stderr), one line each but for tracebacks."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter(form, shared, colours=target.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for talkative in ("uvicorn.error", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def formatter(form: str, shared: list[structlog.typing.Processor], *, colours: bool) -> logging.Formatter:
    """Exceptions become text before redaction, so that a secret in one is caught as well."""
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=colours)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact_event,
            last,
        ],
    )
