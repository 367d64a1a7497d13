# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the results of `diagnosis_info` and `link_info`, failed ones included, to one diagnosis, and to its lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..module_utils.openngt.diagnosis.decide import decide, in_lines
from ..module_utils.openngt.diagnosis.evidence import GuestSaw, ServiceSaw

__all__ = ["FilterModule", "diagnosed", "diagnosis_lines"]

Json = dict[str, Any]
NOT_FOUND = 127  # a shell's status for a program that is not there: here, the interpreter of modules
MOST_MESSAGE = 300


def diagnosed(service: Json, guest: Json | None = None) -> Json:
    """The diagnosis by both results as `register` holds them; a result that is missing or skipped was not asked for."""
    return decide(service_half(service), guest_half(guest or {}))


def service_half(result: Json) -> ServiceSaw | None:
    if "diagnosis" in result:
        saw: ServiceSaw = result["diagnosis"]["service_saw"]
        return saw
    return None if is_missing(result) else {"error": {**error_of(result), "remedy": result.get("remedy")}}


def guest_half(result: Json) -> GuestSaw | None:
    if "guest" in result:
        saw: GuestSaw = result["guest"]
        return saw
    return None if is_missing(result) else {"error": error_of(result)}


def is_missing(result: Json) -> bool:
    return not result or bool(result.get("skipped"))


def error_of(result: Json) -> Json:
    """`code` and `message` of a failed task; the first line is what people need of Ansible's."""
    if result.get("unreachable"):
        code = "GUEST_UNREACHABLE"
    elif result.get("rc") == NOT_FOUND:
        code = "GUEST_HAS_NO_PYTHON"
    else:
        code = result.get("code", "COMMAND_FAILED")
    lines = str(result.get("msg") or "no reason was given").strip().splitlines()
    return {"code": code, "message": lines[0][:MOST_MESSAGE]}


def diagnosis_lines(diagnosis: Json, name: str | None = None) -> list[str]:
    """Cause and remedy in the first line, the evidence below it."""
    return in_lines(diagnosis, name)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"diagnosed": diagnosed, "diagnosis_lines": diagnosis_lines}
