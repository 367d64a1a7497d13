# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a form as a browser sends it, judged by name. The body's length is limited before."""

import re
from urllib.parse import parse_qsl

from starlette.requests import Request

from openngt.errors import OpenNGTError

from ..store.task_rows import RequestKey, request_key

__all__ = ["Form", "read_form"]

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 64
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Form:
    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def text(self, name: str, *, longest: int = 255) -> str:
        """Without blanks around it; empty when it is not there. INVALID_INPUT names the field, never its value."""
        value = self._fields.get(name, "").strip()
        if len(value) > longest or CONTROL.search(value):
            message = f"{name}: give at most {longest} characters, none of them a control character"
            raise OpenNGTError("INVALID_INPUT", message, {"field": name})
        return value

    def ticked(self, name: str) -> bool:
        return name in self._fields

    def key(self, actor: str, path: str) -> RequestKey | None:
        """Of this very form: sent twice, it is one request."""
        once = self.text("once", longest=64)
        if not once:
            return None
        asked = {name: value for name, value in self._fields.items() if name != "csrf"}
        return request_key(actor, f"console-{once}", "POST", {"path": path, "form": asked})


async def read_form(request: Request) -> Form:
    """INVALID_INPUT for anything but a plain form with each field once."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise OpenNGTError("INVALID_INPUT", f"the body is not a form ({FORM})")
    try:
        body = (await request.body()).decode("ascii")
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as exc:
        raise OpenNGTError("INVALID_INPUT", "the form cannot be read") from exc
    if len({name for name, _ in pairs}) != len(pairs):
        raise OpenNGTError("INVALID_INPUT", "the form has a field twice")
    return Form(dict(pairs))
