# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at, in the order of the original's guide: each check with what was found, or why it was not made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .evidence import Seen, moment
from .tells import protocol_differs

__all__ = ["CHECKS", "Check", "Found", "why_guest_is_silent", "why_service_is_silent"]

Json = dict[str, Any]
ROOT = "needs root in the guest (become: true)"


class Found(NamedTuple):
    state: Literal["ok", "failed", "not_made"]
    found: str


class Check(NamedTuple):
    name: str
    title: str
    """For people, on the page."""
    side: Literal["service", "guest"]
    look: Callable[[Seen], Found]


def why_service_is_silent(seen: Seen) -> str:
    error = seen.service_error
    return f"the service could not be asked: {error.get('message')}" if error else "the service was not asked"


def why_guest_is_silent(seen: Seen) -> str:
    error = seen.guest_error
    return f"the guest could not be asked: {error.get('message')}" if error else "the guest was not asked"


def not_made(why: str) -> Found:
    return Found("not_made", why)


def judged(good: bool, found: str) -> Found:
    return Found("ok" if good else "failed", found)


def enrolled(seen: Seen) -> Found:
    service = seen.service or {}
    known = service.get("enrolled") is True
    return judged(known, f"generation {service.get('generation')}" if known else "not enrolled")


def power(seen: Seen) -> Found:
    service = seen.service or {}
    if service.get("on_hypervisor") is None:
        return not_made(f"the hypervisor does not answer: {service.get('hypervisor_error')}")
    if not service["on_hypervisor"]:
        return Found("failed", "the hypervisor has no such VM")
    state = str(service.get("power_state"))
    return not_made("the hypervisor cannot say it") if state == "unknown" else judged(state == "on", state)


def gateway(seen: Seen) -> Found:
    found: Json = (seen.service or {}).get("gateway") or {}
    where = f"agents are told {found.get('host')} port {found.get('port')}; it listens on {found.get('bound_to')}"
    return judged(bool(found.get("listens")), where if found.get("listens") else "does not listen")


def link(seen: Seen) -> Found:
    found = seen.link
    if found.get("active"):
        return Found("ok", f"active over {found.get('transport')} since {found.get('since')}")
    words = [f"last seen {found['last_seen']}" if found.get("last_seen") else "never seen"]
    if found.get("ended"):
        words.append(f"ended by {found['ended']['reason']}")
    if found.get("last_refusal"):
        words.append(f"refused as {found['last_refusal']['reason']} at {found['last_refusal']['at']}")
    return Found("failed", ", ".join(words))


def guest(seen: Seen) -> Found:
    found = seen.guest or {}
    if not found.get("vm_uuid"):
        return not_made(ROOT if found.get("is_root") is False else "its firmware names no UUID")
    wanted = (seen.service or {}).get("vm_uuid")
    return judged(wanted in (None, found["vm_uuid"]), f"it is VM {found['vm_uuid']}")


def other_tools(seen: Seen) -> Found:
    found = (seen.guest or {}).get("other_tools")
    if found is None:
        return not_made("the guest did not say")
    return judged(not found, ", ".join(found) or "none")


def agent_installed(seen: Seen) -> Found:
    installed = (seen.guest or {}).get("installed")
    if installed is None:
        return not_made("the guest did not say")
    version = seen.status.get("agent_version") or "of a version that it does not say"
    return judged(installed, f"agent {version}" if installed else "not installed")


def free_space(seen: Seen) -> Found:
    places = (seen.guest or {}).get("file_systems")
    if not places:
        return not_made("the guest did not say")
    return judged(not seen.full, ", ".join(room(place) for place in places))


def room(place: Json) -> str:
    files = "" if place.get("free_files", 1) else ", and no further file"
    return f"{place['path']} has {place['free_kib'] // 1024} MiB{files}"


def agent_running(seen: Seen) -> Found:
    unit = seen.unit
    if unit is None:
        return not_made("systemd did not answer")
    words = f"{unit.get('active_state')} ({unit.get('sub_state')})"
    return judged(seen.agent_runs is True, f"{words}, {unit.get('unit_file_state') or unit.get('load_state')}")


def identity(seen: Seen) -> Found:
    found, here = seen.identity, (seen.guest or {}).get("vm_uuid")
    if found is None:
        return not_made(ROOT) if (seen.guest or {}).get("is_root") is False else Found("failed", "none")
    words = f"VM {found.get('vm_uuid')}, generation {found.get('generation')} ({found.get('kind')})"
    return judged(here in (None, found.get("vm_uuid")), words)


def clock(seen: Seen) -> Found:
    ahead = seen.clock_ahead
    if ahead is None:
        return not_made("no other clock to compare with")
    return judged(not seen.clock_is_off, f"{abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}")


def reached(seen: Seen) -> Found:
    if not seen.tried:
        return not_made(ROOT if (seen.guest or {}).get("is_root") is False else "no address to try")
    words = [f"{each['host']} port {each['port']}: {each['tcp'] or 'reached'}" for each in seen.tried]
    return judged(not seen.tried[0]["tcp"], "; ".join(words))


def trusted(seen: Seen) -> Found:
    attempt = seen.attempt(configured=True)
    if attempt is not None and attempt["tcp"]:
        return not_made("nothing was reached")
    if attempt is None or "tls" not in attempt:
        return not_made(ROOT if (seen.guest or {}).get("is_root") is False else "no agent's CA to judge by")
    return judged(not attempt.get("tls"), str(attempt.get("tls") or "its certificate is of the agent's CA"))


def serial_port(seen: Seen) -> Found:
    there = (seen.service or {}).get("serial_port")
    devices = (seen.guest or {}).get("serial_devices")
    words = []
    if there is not None:
        words.append(f"hypervisor: {there}")
    if devices is not None:
        words.append(f"guest: {', '.join(devices) or 'none'}")
    if not words:
        return not_made("neither side said anything about one")
    held = seen.link.get("serial_port_held_until")
    if held:
        return Found("failed", "; ".join([*words, f"not tried before {held}"]))
    # Without one the link goes over TCP, which is no failure.
    return Found("ok", "; ".join(words))


def certificate(seen: Seen) -> Found:
    now = seen.service_time
    if seen.entries is None:
        return not_made("the service did not say")
    if seen.identity is not None:
        entry = seen.entry(seen.identity.get("serial"))
        if entry is None:
            return Found("failed", f"the ledger does not know the agent's serial {seen.identity.get('serial')}")
        return of_entry(entry, now)
    live = seen.live_entries
    if not live:
        return Found("failed", "none that could connect")
    return of_entry(live[0], now)


def of_entry(entry: Json, now: Any) -> Found:
    end = moment(entry["not_after"])
    good = entry["state"] in ("current", "next") and (now is None or end is None or now < end)
    return judged(
        good, f"generation {entry['generation']} ({entry['kind']}), {entry['state']}, until {entry['not_after']}"
    )


def disc(seen: Seen) -> Found:
    mount = (seen.service or {}).get("mount")
    if not mount:
        return Found("ok", "no tools ISO is mounted")
    return Found(
        "ok", f"tools ISO of generation {mount.get('generation')} in {mount.get('drive')}, for {mount.get('holder')}"
    )


def protocol(seen: Seen) -> Found:
    service = seen.service or {}
    has = seen.status.get("agent_version") or service.get("agent_version")
    if has is None:
        return not_made("no agent has said its version")
    return judged(protocol_differs(seen) is None, f"agent {has}, service {service.get('available_version')}")


CHECKS: tuple[Check, ...] = (
    Check("enrolled", "the VM is enrolled", "service", enrolled),
    Check("power", "the VM is powered on", "service", power),
    Check("gateway", "the service's gateway listens", "service", gateway),
    Check("link", "what the service saw of the link", "service", link),
    Check("guest", "the guest that answers is this VM", "guest", guest),
    Check("other_tools", "no other vendor's tools own the agent's names", "guest", other_tools),
    Check("agent_installed", "an agent is installed", "guest", agent_installed),
    Check("free_space", "the guest has room", "guest", free_space),
    Check("agent_running", "the agent's service runs", "guest", agent_running),
    Check("identity", "its identity is this VM's", "guest", identity),
    Check("clock", "the clocks agree", "guest", clock),
    Check("gateway_reached", "the guest reaches the gateway's port", "guest", reached),
    Check("gateway_trusted", "who answers there is the service", "guest", trusted),
    Check("serial_port", "there is a serial port", "guest", serial_port),
    Check("certificate", "the certificate is valid, and the ledger knows it", "service", certificate),
    Check("disc", "no tools ISO waits unread", "service", disc),
    Check("protocol", "agent and service speak the same protocol", "service", protocol),
)
