# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells each cause: one pure function over the evidence a cause. None where the evidence does not tell it.

A function says something only on evidence that leaves no other explanation for this cause; whether another cause comes
first is the table's business (causes.py).
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from .evidence import Seen, moment

__all__ = [
    "Told",
    "address_wrong",
    "agent_failed",
    "agent_masked",
    "agent_not_installed",
    "agent_stopped",
    "another_vm_answers",
    "blocked",
    "ca_differs",
    "certificate_expired",
    "certificate_retired",
    "certificate_revoked",
    "certificate_unknown",
    "clock_wrong",
    "disc_waiting",
    "gateway_silent",
    "identity_damaged",
    "identity_of_another",
    "just_lost",
    "link_active",
    "name_unknown",
    "no_python",
    "no_space",
    "not_enrolled",
    "not_trusted",
    "other_tools",
    "paused",
    "powered_off",
    "protocol_differs",
    "serial_port_held",
    "service_unreachable",
    "vm_gone",
]

Json = dict[str, Any]
RECONNECT_SECONDS = 30.0  # an agent that lost its link tries again after 15 s at the latest, and needs a handshake
# The system's own, and systemd's when it cannot make the folder in /run that the unit asks for (systemd.exec(5)).
SPACE_WORDS = ("No space left", "status=233/RUNTIME_DIRECTORY")
UNIT_NAMES = ("ngt_guest_agent.service", "nutanix-guest-agent.service")


class Told(NamedTuple):
    message: str
    evidence: tuple[str, ...] = ()
    remedy: str | None = None
    """Where the evidence allows a closer one than the cause's own."""


def another_vm_answers(seen: Seen) -> Told | None:
    here, wanted = (seen.guest or {}).get("vm_uuid"), (seen.service or {}).get("vm_uuid")
    if not here or not wanted or here == wanted:
        return None
    return Told(f"the guest that answers is VM {here}, not {wanted}")


def link_active(seen: Seen) -> Told | None:
    if not seen.link.get("active"):
        return None
    return Told(f"the link is active over {seen.link.get('transport')}", (f"since {seen.link.get('since')}",))


def serial_port_held(seen: Seen) -> Told | None:
    until = seen.link.get("serial_port_held_until")
    if not until or not seen.link.get("active") or seen.agent_denies_link:
        return None
    return Told(f"the serial port failed soon after the agent had gone back to it; it is not tried before {until}")


def service_unreachable(seen: Seen) -> Told | None:
    error = seen.service_error
    if error is None or error.get("code") != "ENDPOINT_UNREACHABLE":
        return None
    return Told(f"the service does not answer: {error.get('message')}")


def identity_of_another(seen: Seen) -> Told | None:
    here, stored = (seen.guest or {}).get("vm_uuid"), (seen.identity or {}).get("vm_uuid")
    if not here or not stored or here == stored:
        return None
    return Told(f"the agent holds the identity of VM {stored}, and this is VM {here}: a clone, or a restored disk")


def vm_gone(seen: Seen) -> Told | None:
    if seen.service is None or not seen.service.get("enrolled") or seen.service.get("on_hypervisor") is not False:
        return None
    return Told("the VM is enrolled, and the hypervisor has it no more")


def not_enrolled(seen: Seen) -> Told | None:
    if seen.service is None or seen.service.get("enrolled") is not False:
        return None
    return Told("the VM has no guest tools enabled: the service accepts no agent of it")


def powered_off(seen: Seen) -> Told | None:
    off = seen.service is not None and seen.service.get("power_state") == "off"
    return Told("the VM is powered off, and then there is no link") if off else None


def paused(seen: Seen) -> Told | None:
    halted = seen.service is not None and seen.service.get("power_state") == "paused"
    return Told("the VM is paused, so its agent cannot answer") if halted else None


def gateway_silent(seen: Seen) -> Told | None:
    gateway: Json = (seen.service.get("gateway") if seen.service else None) or {}
    if gateway.get("listens") is False:
        return Told("the service's gateway does not listen")
    attempt = seen.attempt(configured=False)
    # Refused from both places, and no rule of the guest's own: alone, the service's host may merely have no way to its
    # own outer address.
    if not gateway.get("refused_here") or attempt is None or not attempt["tcp"] or (seen.guest or {}).get("firewall"):
        return None
    text = f"nobody listens at {gateway.get('host')} port {gateway.get('port')}, where agents are sent"
    return Told(text, (f"the gateway listens on {gateway.get('bound_to')}", f"the guest says: {attempt['tcp']}"))


def other_tools(seen: Seen) -> Told | None:
    found = (seen.guest or {}).get("other_tools") or []
    ours = (seen.guest or {}).get("installed")
    owned = [path for path in found if path.endswith(UNIT_NAMES)]
    if not found or (ours and not owned):
        return None
    return Told(f"another vendor's guest tools are installed: {', '.join(owned or found)}", tuple(found))


def no_python(seen: Seen) -> Told | None:
    if (seen.guest_error or {}).get("code") != "GUEST_HAS_NO_PYTHON":
        return None
    return Told("the guest has no Python, and the agent runs on it")


def agent_not_installed(seen: Seen) -> Told | None:
    if seen.guest is not None and seen.guest.get("installed") is False:
        left = tuple(f"left over: {path}" for path in seen.guest.get("agent_files") or ())
        return Told("no agent is installed in the guest" + (", only parts of one" if left else ""), left)
    if seen.guest is None and seen.service is not None and seen.service.get("generation") == 0:
        return Told("no certificate was ever issued for this VM, so no agent of it can exist")
    return None


def no_space(seen: Seen) -> Told | None:
    if not seen.full:
        return None
    words = [line for line in seen.journal if any(word in line for word in SPACE_WORDS)]
    if seen.last_error.get("code") != "NO_SPACE" and (seen.agent_runs is not False or not words):
        return None  # it is full, and nothing says that the agent minds
    return Told(f"the guest has no space left on {', '.join(seen.full)}", tuple(words[-2:]))


def agent_masked(seen: Seen) -> Told | None:
    masked = seen.unit is not None and seen.unit.get("load_state") == "masked"
    return Told("the agent's service is masked, so nothing can start it") if masked else None


def agent_stopped(seen: Seen) -> Told | None:
    unit = seen.unit
    stopped = unit is not None and unit.get("active_state") in ("inactive", "deactivating")
    if unit is None or not stopped or unit.get("load_state") != "loaded":
        return None
    disabled = unit.get("unit_file_state") == "disabled"
    said = "stopped and disabled: it does not come back with a restart" if disabled else "stopped"
    remedy = "in the guest: systemctl enable --now ngt_guest_agent.service" if disabled else None
    return Told(f"the agent's service is {said}", tuple(seen.journal[-2:]), remedy)


def agent_failed(seen: Seen) -> Told | None:
    unit = seen.unit or {}
    # Between two attempts, or in the middle of one more.
    again = unit.get("active_state") == "activating" and unit.get("restarts", 0) > 0
    if unit.get("active_state") != "failed" and unit.get("sub_state") != "auto-restart" and not again:
        return None
    words = [f"exit status {unit['exit_status']}"] if unit.get("exit_status") else []
    if unit.get("restarts"):
        words.append(f"started again {unit['restarts']} times")
    own = [line for line in seen.journal if " systemd[1]: " not in line]
    ends = [line for line in seen.journal if "Main process exited" in line]
    return Told(f"the agent's service fails: {', '.join(words) or unit.get('result')}", (*own[-3:], *ends[-1:]))


def identity_damaged(seen: Seen) -> Told | None:
    if seen.last_error.get("code") != "IDENTITY_INVALID" or identity_of_another(seen):
        return None
    return Told("the agent cannot use its stored identity", (str(seen.last_error.get("message")),))


def clock_wrong(seen: Seen) -> Told | None:
    if not seen.clock_is_off or seen.clock_ahead is None:
        return None
    evidence = [text for text in seen.tls_errors if "yet valid" in text or "expired" in text]
    here = moment((seen.guest or {}).get("time"))
    for entry in (seen.live_entries or [])[:1]:
        begin, end = moment(entry["not_before"]), moment(entry["not_after"])
        if here and begin and end and not begin <= here < end and (seen.service_time or here) < end:
            evidence.append(f"its certificate is valid from {entry['not_before']} to {entry['not_after']}")
    if not evidence:
        return None  # off, but no certificate is judged differently for it
    says = f"it says {(seen.guest or {}).get('time')}"
    return Told(f"the guest's clock is {span(seen.clock_ahead)}", (says, *evidence))


def span(ahead: float) -> str:
    """`3.0 years behind`"""
    which = "ahead" if ahead > 0 else "behind"
    for seconds, unit in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if abs(ahead) >= seconds:
            return f"{abs(ahead) / seconds:.1f} {unit} {which}"
    return f"{abs(ahead):.0f} seconds {which}"


def address_wrong(seen: Seen) -> Told | None:
    attempt, wanted = seen.attempt(configured=True), seen.address
    if attempt is None or wanted is None or (attempt["host"], attempt["port"]) == wanted:
        return None
    failure = attempt["tcp"] or attempt.get("tls")
    if not failure:
        return None  # another name of the same place
    right = seen.attempt(configured=False)
    reach = () if right is None else (f"{wanted[0]} port {wanted[1]}: {right['tcp'] or 'reached'}",)
    text = (
        f"the agent is sent to {attempt['host']} port {attempt['port']}, the service is at {wanted[0]} port {wanted[1]}"
    )
    return Told(text, (f"{attempt['host']} port {attempt['port']}: {failure}", *reach))


def name_unknown(seen: Seen) -> Told | None:
    attempt = seen.attempt(configured=True)
    if attempt is None or not str(attempt["tcp"] or "").startswith("name: "):
        return None
    return Told(f"the guest cannot resolve the gateway's name {attempt['host']}", (str(attempt["tcp"])[6:],))


def blocked(seen: Seen) -> Told | None:
    attempt = seen.attempt(configured=True) or seen.attempt(configured=False)
    # The service's word that it listens is needed: from the guest a closed port looks the same.
    listens = ((seen.service.get("gateway") if seen.service else None) or {}).get("listens")
    if attempt is None or not attempt["tcp"] or not listens:
        return None
    rules = tuple(f"rule in the guest: {rule}" for rule in (seen.guest or {}).get("firewall") or ())
    where = (
        "the guest's own packet filter names the port" if rules else "something between guest and service is in the way"
    )
    text = f"the gateway listens, and the guest does not reach {attempt['host']} port {attempt['port']}: {where}"
    return Told(text, (str(attempt["tcp"]), *rules))


def ca_differs(seen: Seen) -> Told | None:
    theirs, ours = (seen.identity or {}).get("ca_sha256"), (seen.service or {}).get("ca_sha256")
    if not theirs or not ours or theirs == ours:
        return None
    return Told("the agent's identity is from another service's CA", (f"agent: {theirs}", f"service: {ours}"))


def not_trusted(seen: Seen) -> Told | None:
    attempt, identity = seen.attempt(configured=True), seen.identity
    distrust = str(attempt.get("tls") or "") if attempt else ""
    if attempt is None or not distrust or distrust.startswith("no answer: ") or identity is None:
        return None
    ours = (seen.service or {}).get("ca_sha256")
    if not ours or identity.get("ca_sha256") != ours:
        return None
    text = f"what answers at {attempt['host']} port {attempt['port']} is not the service that this agent trusts"
    return Told(text, (distrust,))


def certificate_revoked(seen: Seen) -> Told | None:
    return by_ledger(seen, "revoked", "the agent's certificate is revoked")


def certificate_retired(seen: Seen) -> Told | None:
    text = "the agent's certificate is retired: a newer one has taken its place (a revert, a clone, a missed rotation)"
    return by_ledger(seen, "retired", text)


def by_ledger(seen: Seen, state: str, text: str) -> Told | None:
    """By the guest's own serial; where that is not known, by what the gateway has just refused this VM for."""
    if is_of_another(seen):
        return None
    if seen.identity is not None:
        entry = seen.entry(seen.identity.get("serial"))
        if entry is None or entry["state"] != state:
            return None
        return Told(text, (serial_shown(entry),))
    refusal = seen.fresh_refusal
    if refusal is None or refusal["reason"] != state:
        return None
    return Told(text, (f"refused at {refusal['at']}",))


def is_of_another(seen: Seen) -> bool:
    """Whether the guest holds another VM's certificate, of which this VM's part of the ledger says nothing."""
    holds, asked = (seen.identity or {}).get("vm_uuid"), (seen.service or {}).get("vm_uuid")
    return bool(holds and asked and holds != asked)


def serial_shown(entry: Json) -> str:
    return f"serial {entry['serial']}, generation {entry['generation']}, until {entry['not_after']}"


def certificate_expired(seen: Seen) -> Told | None:
    now = seen.service_time or now_by_guest(seen)
    if now is None or is_of_another(seen):
        return None
    if seen.identity is not None:
        end = moment(seen.identity.get("not_after"))
        return expired_at(seen.identity, "the agent's certificate") if end is not None and end <= now else None
    # Those that could connect; without any, the newest, which has outlived its use.
    candidates = seen.live_entries or (seen.entries or [])[:1]
    if not candidates or candidates[0]["state"] == "revoked":
        return None
    if not all((end := moment(entry["not_after"])) is not None and end <= now for entry in candidates):
        return None
    kind = "the certificate on the VM's ISO" if candidates[0]["kind"] == "bootstrap" else "the VM's certificate"
    return expired_at(candidates[0], kind)


def expired_at(entry: Json, kind: str) -> Told:
    shown = {name: entry.get(name) for name in ("serial", "generation", "not_after")}
    return Told(f"{kind} expired at {entry['not_after']}", (serial_shown(shown),))


def now_by_guest(seen: Seen) -> datetime.datetime | None:
    """The guest's clock, where it was compared and is right."""
    return None if seen.clock_ahead is None or seen.clock_is_off else moment((seen.guest or {}).get("time"))


def certificate_unknown(seen: Seen) -> Told | None:
    identity, service = seen.identity, seen.service
    if identity is None or service is None or seen.entries is None or not identity.get("serial"):
        return None
    if is_of_another(seen):
        return None
    ours = service.get("ca_sha256")
    if not ours or identity.get("ca_sha256") != ours or seen.entry(identity["serial"]) is not None:
        return None
    text = "the agent's certificate is of this service's CA, and the ledger does not know it (a restored database?)"
    return Told(text, (f"serial {identity['serial']}, generation {identity.get('generation')}",))


def protocol_differs(seen: Seen) -> Told | None:
    error, refusal = seen.last_error, seen.fresh_refusal
    words = str(error.get("message"))
    versions = (
        f"agent {(seen.service or {}).get('agent_version')}, service {(seen.service or {}).get('available_version')}"
    )
    if error.get("code") == "PROTOCOL_ERROR" or "refused hello" in words:
        return Told("agent and service do not speak the same protocol", (words, versions))
    if seen.guest is None and refusal is not None and refusal["reason"] in ("protocol_version", "bad_frame"):
        return Told("agent and service do not speak the same protocol", (f"refused: {refusal['reason']}", versions))
    return None


def disc_waiting(seen: Seen) -> Told | None:
    """Behind the installation's own causes: said of an agent that could read the disc, or of a guest not asked."""
    mount = (seen.service or {}).get("mount")
    if not mount or mount.get("phase") != "mounted" or mount.get("generation") is None:
        return None
    has = (seen.identity or {}).get("generation")
    used = has is not None and has >= mount["generation"]
    if used or (seen.identity is None and not seen.never_linked):
        return None
    disc = (seen.guest or {}).get("disc")
    evidence = (f"in {mount['drive']} since {mount['since']}, for {mount['holder']}",)
    shown = (f"the guest has it as {disc['device']}",) if disc else ()
    return Told(f"the tools ISO of generation {mount['generation']} waits unread", evidence + shown)


def just_lost(seen: Seen) -> Told | None:
    now, ended = seen.service_time, seen.link.get("ended") or {}
    at = moment(ended.get("at"))
    if now is None or at is None or (now - at).total_seconds() > RECONNECT_SECONDS or seen.agent_runs is False:
        return None
    return Told(f"the link ended a moment ago ({ended.get('reason')}); an agent that runs comes back by itself")
