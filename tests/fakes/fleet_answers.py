# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of any size as the service's API tells it, with what goes wrong in one, for what makes reports of it."""

import datetime
from typing import Any

from openngt.report.gather import Answers

__all__ = ["NOW", "answers", "vm"]

Json = dict[str, Any]
NOW = datetime.datetime(2026, 11, 26, 9, 0, tzinfo=datetime.UTC)
HERE = "0.1.0"
LINK_CHECK = "ngt_link_check"
EXPIRY_CHECK = "ngt_client_cert_expiry_check"


def uuid_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def when(days: float) -> str:
    return f"{NOW + datetime.timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def expiry(days: int) -> str:
    return "FAIL" if days <= 7 else "WARN" if days <= 45 else "INFO" if days <= 90 else "PASS"


def vm(number: int, *, name: str | None = None, days: int = 900, link: str | None = "tls", **changes: Any) -> Json:
    """An enrolled VM whose certificate ends in `days`; without `link` it is down, `off` switches the VM off."""
    active = link in ("serial", "tls")
    return {
        "vm_uuid": uuid_of(number),
        "vm_name": f"web{number:05}" if name is None else name,
        "ngt_uuid": f"10000000-0000-4000-8000-{number:012}",
        "ngt_enabled": True,
        "tools_iso_mounted": False,
        "vss_snapshot": True,
        "self_service_restore": True,
        "communication_link_active": active,
        "transport": link if active else None,
        "power_state": "off" if link == "off" else "on",
        "agent_version": HERE,
        "available_version": HERE,
        "agent_support": {"state": "supported", "code": None, "message": None, "remedy": None},
        "reboot_required": False,
        "generation": 2,
        "certificate": {
            "serial": f"{number:x}",
            "kind": "link",
            "not_after": when(days + 0.5),
            "days_left": days,
            "expiry": expiry(days),
        },
        "link": {"since": when(-3) if active else None, "peer": None, "last_seen": when(0), "last_refusal": None},
        "vm_info": {"guest_os_name": "Debian GNU/Linux 12 (bookworm)"},
        "enrolled_at": when(-100),
        **changes,
    }


def fleet(size: int) -> list[Json]:
    """Renewed in waves, as fleets are: one every 60 VMs."""
    vms = []
    for number in range(size):
        wave = (number * 7919 % 17) * 60 + number % 23
        link = "serial" if number % 3 else "off" if number % 51 == 0 else "tls"
        vms.append(vm(number, days=wave - 2, link=link))
    for one in vms[1::97]:
        one |= {"communication_link_active": False, "transport": None}
    for one in vms[2::31]:
        one["agent_version"] = "0.0.9"
    for one in vms[5::211]:
        one |= {"agent_version": "0.0.1", "agent_support": {"state": "too_old"}}
    return vms


def check(name: str, title: str, items: list[Json], *resolutions: str) -> Json:
    state = next((one for one in ("FAIL", "WARN", "INFO") if any(item["state"] == one for item in items)), "PASS")
    return {
        "name": name,
        "title": title,
        "state": state,
        "message": f"{len(items)} findings" if items else "measured 4711 just now",
        "items": items,
        "alert_code": None,
        "resolutions": list(resolutions),
        "checked_at": when(0),
    }


def finding(of: Json, state: str, message: str) -> Json:
    return {"vm_uuid": of["vm_uuid"], "vm_name": of["vm_name"], "state": state, "message": message}


def checks(vms: list[Json]) -> list[Json]:
    down = [one for one in vms if not one["communication_link_active"] and one["power_state"] == "on"]
    ending = [one for one in vms if one["certificate"] and one["certificate"]["expiry"] != "PASS"]
    return [
        check(
            EXPIRY_CHECK,
            "Certificate expiry",
            [
                finding(
                    one,
                    one["certificate"]["expiry"],
                    f"VM: {one['vm_name']} - certificate ends in {one['certificate']['days_left']} days",
                )
                for one in ending
            ],
            "Refresh the certificate: openngt refresh run VM, or the playbook openngt.guest_tools.refresh for all.",
        ),
        check(
            LINK_CHECK,
            "Communication link",
            [finding(one, "WARN", f"VM: {one['vm_name']} - Communication Link Active : false") for one in down],
            "In the guest: ngtcli status, journalctl -u ngt_guest_agent.service, and nc -vz ADDRESS 2074 for the port.",
            "For a refused identity openngt refresh run VM --via iso: the agent takes the new one from the disc.",
        ),
        check("ngt_clock_skew_check", "Clock skew", []),
        check(
            "ngt_disk_space_check",
            "Disk space of the service",
            [{"name": "/var/lib/openngt", "state": "WARN", "message": "/var/lib/openngt: 900 MB are free of 20 GB"}],
            "Free space on the named file system; until then nothing is issued or mounted (NO_SPACE).",
        ),
    ]


def task(
    number: int, of: Json | None, state: str, *, kind: str = "mount", code: str = "DRIVE_BUSY", **changes: Any
) -> Json:
    error = {"code": code, "message": f"no empty drive ({number})", "remedy": "take another disc out", "details": {}}
    return {
        "task_id": f"{number:032x}",
        "kind": kind,
        "title": f"Mount the tools ISO of {of['vm_name']}" if of else "Refresh certificates",
        "parent": None,
        "vm_uuid": of["vm_uuid"] if of else None,
        "state": state,
        "progress": 100,
        "step": "done",
        "result": None,
        "error": error if state == "failed" else None,
        "created": when(-number / 100),
        "updated": when(-number / 100),
        **changes,
    }


def answers(size: int = 0, *, vms: list[Json] | None = None, **given: Any) -> Answers:
    """A fleet of `size` VMs with some of everything, or exactly `vms` and nothing wrong; `given` replaces answers."""
    found = vms if vms is not None else fleet(size)
    told: Json = {
        "service_version": HERE,
        "ca": {"cluster_uuid": "c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42", "not_after": when(3600)},
        "vms": found,
        "checks": [] if vms is not None else checks(found),
        "tasks": [] if vms is not None else [task(n, one, "failed") for n, one in enumerate(found[3::301], 1)],
        "customizations": [],
    }
    return Answers(**{**told, **given})
