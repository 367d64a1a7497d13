# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages from templates. What a template prints is escaped: names and texts come from guests and from other people."""

import datetime
import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from openngt.version import __version__

from ..health.report import one_line
from .views import NOTHING

__all__ = ["BASE", "STATIC", "address", "environment"]

BASE = "/console"
HERE = Path(__file__).parent
STATIC = HERE / "static"
LONGEST = 16_384
"""Characters of one value on a page; a guest may send more."""


def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(when=when, pretty=pretty)
    made.globals.update(address=address, once=once, version=__version__)
    return made


def address(*parts: str, **query: Any) -> str:
    """`address("vms", uuid)` -> `/console/vms/<uuid>`. In the query a list repeats its name, nothing empty stands."""
    path = "/".join([BASE, *(quote(part, safe="") for part in parts)]) if parts else f"{BASE}/"
    given = {name: value for name, value in query.items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def shown(value: Any) -> Any:
    """What a template's `{{ }}` prints, before it is escaped.

    Characters that cannot be seen, among them those that turn the direction of writing, are shown by their numbers.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.datetime):
        return when(value)
    return one_line(cut(value)) if isinstance(value, str) else value


def once() -> str:
    """For a form: by it the service knows the same form when it comes twice."""
    return secrets.token_hex(16)


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def when(moment: datetime.datetime | None) -> Markup | str:
    """A time of UTC, for people and for machines."""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(datetime.UTC)
    return Markup('<time datetime="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S} UTC")


def pretty(value: Any) -> Markup:
    """JSON on lines of its own."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return Markup("\n").join(Markup("{}").format(one_line(cut(line))) for line in text.split("\n"))
