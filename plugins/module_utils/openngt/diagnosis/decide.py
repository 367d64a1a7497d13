# SPDX-License-Identifier: GPL-3.0-or-later
"""From the evidence of both sides to one cause and one remedy: pure, the same in the service, the CLI and a play."""

from __future__ import annotations

from typing import Any

from .causes import CAUSES, NOT_KNOWN, Cause
from .checks import CHECKS, Check, Found, why_guest_is_silent, why_service_is_silent
from .evidence import GuestSaw, Seen, ServiceSaw
from .tells import Told

__all__ = ["decide", "in_lines"]

Json = dict[str, Any]
ANOTHER_VM, *OTHERS, JUST_LOST = CAUSES


def decide(service: ServiceSaw | None, guest: GuestSaw | None) -> Json:
    """`{"vm_uuid", "vm_name", "link_active", "cause", "message", "remedy", "evidence", "also", "checks"}`.

    None for a side that was not asked, `{"error": {"code", "message"}}` for one that gave no answer. `cause` is a code
    of `CAUSES` or NOT_KNOWN; `also` has further causes that hold as well, `checks` what was looked at and what was not.
    """
    seen = Seen(service, guest)
    stranger = ANOTHER_VM.tell(seen)
    told: list[tuple[Cause | None, Told]] = [(ANOTHER_VM, stranger)] if stranger else []
    if stranger:
        # What another VM's guest says about itself tells nothing about this one.
        seen = Seen(service, {"error": {"code": ANOTHER_VM.code, "message": stranger.message}})
    told += [(cause, found) for cause in OTHERS if (found := cause.tell(seen)) is not None]
    # The service notices the end of a link by heartbeats that fail to come, some seconds late; the agent knows at once.
    denied = len(told) > 1 and told[0][0] is not None and told[0][0].code == "LINK_ACTIVE" and seen.agent_denies_link
    if denied:
        del told[0]
    if not told and (waiting := JUST_LOST.tell(seen)) is not None:
        told = [(JUST_LOST, waiting)]
    first, *others = told or [(None, not_known(seen))]
    return {
        "vm_uuid": (seen.service or {}).get("vm_uuid"),
        "vm_name": (seen.service or {}).get("vm_name"),
        "link_active": None if seen.service is None else bool(seen.link.get("active")) and not denied,
        **shown(*first),
        "evidence": list(first[1].evidence),
        "also": [shown(*other) for other in others],
        "checks": [{"name": check.name, **made(check, seen)._asdict()} for check in CHECKS],
    }


def in_lines(diagnosis: Json, name: str | None = None) -> list[str]:
    """For people: cause and remedy in the first line, the evidence below it."""
    head = (
        f"{name or diagnosis['vm_name'] or diagnosis['vm_uuid'] or 'VM'}: {diagnosis['cause']}: {diagnosis['message']}"
    )
    lines = [f"{head}; remedy: {diagnosis['remedy']}"]
    lines += [f"  {text}" for text in diagnosis["evidence"]]
    lines += [f"  also {other['cause']}: {other['message']}; remedy: {other['remedy']}" for other in diagnosis["also"]]
    width = max(len(check["name"]) for check in diagnosis["checks"])
    made_ones = [check for check in diagnosis["checks"] if check["state"] != "not_made"]
    lines += [f"  {check['state']:<6}  {check['name']:<{width}}  {check['found']}" for check in made_ones]
    reasons: dict[str, list[str]] = {}
    for check in diagnosis["checks"]:
        if check["state"] == "not_made":
            reasons.setdefault(check["found"], []).append(check["name"])
    lines += [f"  not made: {', '.join(names)} ({reason})" for reason, names in reasons.items()]
    return lines


def shown(cause: Cause | None, told: Told) -> Json:
    if cause is None:
        return {"cause": NOT_KNOWN, "message": told.message, "remedy": told.remedy}
    return {"cause": cause.code, "message": told.message, "remedy": told.remedy or cause.remedy}


def made(check: Check, seen: Seen) -> Found:
    if check.name == "serial_port" and (seen.service or seen.guest):
        return check.look(seen)  # either side may have seen one
    if check.side == "service" and seen.service is None:
        return Found("not_made", why_service_is_silent(seen))
    if check.side == "guest" and seen.guest is None:
        return Found("not_made", why_guest_is_silent(seen))
    return check.look(seen)


def not_known(seen: Seen) -> Told:
    """What was seen all the same, and where to look next; never a guess."""
    evidence = []
    refusal, ended = seen.fresh_refusal, seen.link.get("ended")
    if refusal:
        evidence.append(f"the gateway refused this VM at {refusal['at']}: {refusal['reason']}")
    if ended:
        evidence.append(f"the last session ended at {ended['at']}: {ended['reason']}")
    if seen.never_linked:
        evidence.append("the agent has never been connected")
    for stranger in ((seen.service or {}).get("strangers") or [])[-3:]:
        evidence.append(
            f"the gateway refused somebody from {stranger['peer']}, where this VM was last, "
            f"at {stranger['at']}: {stranger['reason']}"
        )
    if seen.last_error:
        evidence.append(f"the agent says {seen.last_error.get('code')}: {seen.last_error.get('message')}")
    evidence += seen.journal[-4:]
    return Told(*next_step(seen, tuple(evidence)))


def next_step(seen: Seen, evidence: tuple[str, ...]) -> tuple[str, tuple[str, ...], str]:
    if seen.service is None:
        text = f"why the link is not active is not known: {why_service_is_silent(seen)}"
        return text, evidence, (seen.service_error or {}).get("remedy") or "ask the service: openngt vm diagnose"
    if seen.guest is None:
        text = f"the service sees no reason why the agent does not connect, and {why_guest_is_silent(seen)}"
        look = "look in the guest: ansible-playbook openngt.guest_tools.diagnose, or there: ngtcli status"
        return text, evidence, look
    if seen.guest.get("is_root") is False:
        return "nothing that may be seen without root explains it", evidence, "ask the guest again with become: true"
    text = "nothing that was looked at explains it"
    look = (
        "read both ends around one attempt: journalctl -u ngt_guest_agent.service in the guest, "
        "connection_refused in the service's log"
    )
    return text, evidence, look
