# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a guest from an installation, and what is wrong with a link, by the answers of service and guest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..module_utils.openngt.errors import OpenNGTError

__all__ = ["FilterModule", "link_problems", "preflight_problems"]

Json = dict[str, Any]


def link_problems(service: Json, guest: Json) -> list[str]:
    """None when both see one link: the same certificate on both sides, and active on both."""
    problems = [*failures(guest), *failures(service)]
    if problems:
        return problems
    agent, record = guest.get("agent"), service["vms"][0]
    if not agent:
        return [line(OpenNGTError("AGENT_NOT_INSTALLED", "no agent is installed in the guest"))]
    if not (agent.get("link") or {}).get("active"):
        return [line(OpenNGTError("LINK_NOT_ACTIVE", "the service sees a link, and the guest's own agent has none"))]
    held, seen = (agent.get("identity") or {}).get("serial"), (record.get("certificate") or {}).get("serial")
    if held != seen:
        told = f"the guest's agent holds the certificate {held}, and the service sees {seen}: this may be another VM"
        return [line(OpenNGTError("LINK_NOT_ACTIVE", told))]
    return []


def preflight_problems(service: Json, guest: Json) -> list[str]:
    """None when nothing stands in the way of an installation."""
    return [*failures(service), *failures(guest), *findings(guest)]


def failures(result: Json) -> Iterator[str]:
    if result.get("unreachable"):
        first = str(result.get("msg", "")).strip().splitlines() or ["the guest cannot be reached"]
        yield line(OpenNGTError("GUEST_UNREACHABLE", first[0]))
    elif "code" in result:
        yield f"{result['msg']} [{result['code']}] remedy: {result['remedy']}"
    elif result.get("failed") or result.get("failed_when_result") or result.get("rc"):
        yield f"{result.get('msg') or 'no reason was given'} [COMMAND_FAILED] remedy: run it again with -vvv"


def findings(result: Json) -> Iterator[str]:
    """In check mode a guest without Python is no failure of the module's."""
    if "code" not in result:
        for each in result.get("findings") or ():
            if each["state"] == "failed":
                yield f"{each['name']}: {each['found']} [PREREQUISITES_NOT_MET] remedy: {each['remedy']}"


def line(error: OpenNGTError) -> str:
    return f"{error.message} [{error.code}] remedy: {error.remedy}"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"link_problems": link_problems, "preflight_problems": preflight_problems}
