# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows guest must have before anything is installed in it: pure judgements over what its program told.

The findings are those of `..prerequisites`, in the order in which a person would fix them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..prerequisites import Finding
from .versions import judge

__all__ = ["findings"]

MINIMUM_POWERSHELL = (3, 0)


def findings(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Finding]:
    """All judgements; `wanted` is the conversation's header. A fact that is missing counts as bad."""
    answer = [
        _windows(facts, wanted),
        _powershell(facts),
        _on_path(facts),
        _net(facts),
        _privilege(facts),
        _other_tools(facts),
        _vm_uuid(facts),
        *(_free_space(facts, place, int(wanted["minimum_free_mb"])) for place in ("programs", "temporary")),
    ]
    gateway = wanted.get("gateway")
    if gateway:
        answer.append(_endpoint(facts, f"{gateway['host']}:{gateway['port']}"))
    return answer


def _finding(name: str, good: bool, found: str, wish: str, remedy: str, state: str = "failed") -> Finding:
    return Finding(name, "ok" if good else state, found, wish, "" if good else remedy)


def _windows(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> Finding:
    verdict = judge(str(facts.get("windows_name")), str(facts.get("windows_build")), str(facts.get("windows_type")))
    state = "warning" if wanted.get("allow_unsupported_distribution") else "failed"
    remedy = "see docs/windows.md; allow_unsupported_distribution: true tries it all the same"
    # `distribution`, as on Linux: who reads a fleet's findings need not know of what kind each guest is.
    wish = "a version of Windows of the support table"
    return _finding("distribution", verdict.supported, verdict.message or verdict.label, wish, remedy, state)


def _powershell(facts: Mapping[str, Any]) -> Finding:
    found = str(facts.get("powershell"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    return _finding("powershell", numbers >= MINIMUM_POWERSHELL, found, "3.0 or newer", "install WMF 5.1 in the guest")


def _on_path(facts: Mapping[str, Any]) -> Finding:
    remedy = r"add %SystemRoot%\System32\WindowsPowerShell\v1.0 to PATH, for all users"
    good = facts.get("powershell_on_path") is True
    return _finding("powershell_on_path", good, "found" if good else "not found", "powershell.exe on PATH", remedy)


def _net(facts: Mapping[str, Any]) -> Finding:
    good = facts.get("net45") is True
    found, remedy = "there" if good else "not found", "install .NET Framework 4.5 or newer in the guest"
    return _finding("dot_net", good, found, ".NET Framework 4.5 or newer", remedy)


def _privilege(facts: Mapping[str, Any]) -> Finding:
    good = facts.get("elevated") is True
    found = f"{facts.get('user')}, {'elevated' if good else 'not elevated'}"
    remedy = (
        "log in as a local administrator; one that is not the built-in one gets its rights over the network by the"
        " registry value LocalAccountTokenFilterPolicy (role winrm_prep, docs/winrm.md)"
    )
    return _finding("privilege", good, found, "an elevated local administrator", remedy)


def _other_tools(facts: Mapping[str, Any]) -> Finding:
    found = [str(each) for each in facts.get("other_tools") or []]
    remedy = "uninstall them with their own uninstaller first; never remove Nutanix VirtIO or VM Mobility with them"
    return _finding("other_tools", not found, ", ".join(found) or "none", "no guest tools of another vendor", remedy)


def _vm_uuid(facts: Mapping[str, Any]) -> Finding:
    found = str(facts.get("vm_uuid") or "")
    good = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found) is not None
    remedy = "let the hypervisor give the VM an SMBIOS UUID; without it a disc cannot be matched to its VM"
    return _finding("vm_uuid", good, found or "not readable", "the VM's UUID in SMBIOS", remedy)


def _free_space(facts: Mapping[str, Any], place: str, least: int) -> Finding:
    folder, free = str(facts.get(place)), facts.get("free_mb")
    found = free.get(place) if isinstance(free, dict) else None
    good = isinstance(found, int | float) and found >= least
    remedy = f"free space on the drive of {folder}, or lower minimum_free_mb"
    return _finding(f"free_space:{folder}", good, f"{found or 0:.0f} MB", f"{least} MB", remedy)


def _endpoint(facts: Mapping[str, Any], endpoint: str) -> Finding:
    why = facts.get("endpoint_error")
    # Only a warning: a guest without a route may still have a link over its serial port.
    remedy = f"allow the guest's connections to {endpoint} in firewalls between the two"
    return _finding("endpoint", why is None, str(why or "reached"), f"TCP reach of {endpoint}", remedy, "warning")
