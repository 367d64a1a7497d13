# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What a guest must have before anything is installed in it: pure judgements over collected facts.

Every judgement answers, so that one run shows all that is missing; each finding that is not `ok` says what to do.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ..errors import OpenNGTError
from .facts import Facts, Place
from .support import judge

__all__ = ["Finding", "Wanted", "demand", "findings", "is_met", "missing_program", "parse_version"]

Wanted = NamedTuple(
    "Wanted",
    [
        ("minimum_free_mb", int),
        ("minimum_python", Tuple[int, ...]),
        ("endpoint", str),  # host:port, for the text; empty when nobody asked
        ("allow_unsupported_distribution", bool),
    ],
)

Finding = NamedTuple("Finding", [("name", str), ("state", str), ("found", str), ("wanted", str), ("remedy", str)])

INSTALL_OPTION = (
    "set linux_prerequisites_install: true (role), install: true (module), install_prerequisites: true (fleet)"
)


def findings(facts: Facts, wanted: Wanted) -> List[Finding]:
    """All judgements in the order in which a person would fix them. States: ok, warning, failed."""
    answer = [
        _distribution(facts, wanted),
        _python(facts, wanted),
        _tar(facts),
        _privilege(facts),
        _systemd(facts),
        _other_tools(facts),
        _vm_uuid(facts),
    ]
    for key in ("prefix", "temporary"):
        answer += [_writable(facts.places[key], facts), _free_space(facts.places[key], wanted)]
    answer.append(_mount_point(facts.places["mount_point"], facts))
    if wanted.endpoint:
        answer.append(_endpoint(facts, wanted))
    return answer


def is_met(found: Sequence[Finding]) -> bool:
    """True when nothing stands in the way; warnings do not."""
    return not any(finding.state == "failed" for finding in found)


def demand(found: Sequence[Finding]) -> None:
    """Raise PREREQUISITES_NOT_MET, naming each failed finding with its remedy, unless all is met.

    UNSUPPORTED_DISTRIBUTION instead when that is the only one: it has its own way out.
    """
    failed = [finding for finding in found if finding.state == "failed"]
    if not failed:
        return
    details: Dict[str, Any] = {"findings": [dict(finding._asdict()) for finding in found]}
    if [finding.name for finding in failed] == ["distribution"]:
        raise OpenNGTError("UNSUPPORTED_DISTRIBUTION", failed[0].found, details)
    listed = "; ".join("{0}: {1} ({2})".format(each.name, each.found, each.remedy) for each in failed)
    raise OpenNGTError("PREREQUISITES_NOT_MET", "this guest is not ready: {0}".format(listed), details)


def parse_version(text: str) -> Tuple[int, ...]:
    """`3.6` -> (3, 6); INVALID_INPUT for anything else."""
    parts = text.split(".")
    if not all(part.isdigit() for part in parts):
        raise OpenNGTError("INVALID_INPUT", "minimum_python must be numbers and dots, as 3.6, not {0!r}".format(text))
    return tuple(int(part) for part in parts)


def missing_program(name: str, wanted: str) -> Finding:
    """The finding for a program that a package manager would bring (`python` also when no module can run yet)."""
    return Finding(name, "failed", "not found", wanted, "install it, or {0}".format(INSTALL_OPTION))


def broken_python(said: str, wanted: str) -> Finding:
    """The finding for a Python that tells its version and then does not start; `said` is its path and why."""
    remedy = "install that Python's standard library, or name another one in ansible_python_interpreter"
    return Finding("python", "failed", "{0} (it does not start)".format(said), wanted, remedy)


def _ok(name: str, found: str, wanted: str) -> Finding:
    return Finding(name, "ok", found, wanted, "")


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


def _distribution(facts: Facts, wanted: Wanted) -> Finding:
    verdict = judge(facts.os_release)
    wish = "a distribution of the support table"
    if verdict.supported:
        return _ok("distribution", verdict.label, wish)
    state = "warning" if wanted.allow_unsupported_distribution else "failed"
    remedy = "see docs/prerequisites.md; allow_unsupported_distribution: true tries it all the same"
    return Finding("distribution", state, verdict.message, wish, remedy)


def _python(facts: Facts, wanted: Wanted) -> Finding:
    wish = "{0} or newer".format(_dotted(wanted.minimum_python))
    if facts.python >= wanted.minimum_python:
        return _ok("python", _dotted(facts.python), wish)
    remedy = "install a newer Python and point ansible_python_interpreter at it"
    return Finding("python", "failed", _dotted(facts.python), wish, remedy)


def _tar(facts: Facts) -> Finding:
    return _ok("tar", facts.tar, "on PATH") if facts.tar else missing_program("tar", "on PATH")


def _privilege(facts: Facts) -> Finding:
    wish = "root, or sudo"
    if facts.uid == 0:
        return _ok("privilege", "root", wish)
    if facts.sudo == "passwordless":
        return Finding("privilege", "warning", "sudo without a password", wish, "run with become: true")
    if facts.sudo == "asks":
        remedy = "run with become: true and give the password (--ask-become-pass), or allow sudo without one"
        return Finding("privilege", "warning", "sudo that asks for a password", wish, remedy)
    remedy = "log in as root, or allow this user to use sudo"
    return Finding("privilege", "failed", "uid {0} without sudo".format(facts.uid), wish, remedy)


def _systemd(facts: Facts) -> Finding:
    wish = "systemd as the running init"
    if facts.systemctl and facts.systemd_running:
        return _ok("systemd", "running", wish)
    found = "installed, not running" if facts.systemctl else "not found"
    return Finding("systemd", "failed", found, wish, "boot the guest with systemd; a container is no guest")


def _other_tools(facts: Facts) -> Finding:
    wish = "no guest tools of another vendor"
    if not facts.other_tools:
        return _ok("other_tools", "none", wish)
    remedy = "uninstall them with their own uninstaller first"
    return Finding("other_tools", "failed", ", ".join(facts.other_tools), wish, remedy)


def _vm_uuid(facts: Facts) -> Finding:
    wish = "the VM's UUID in DMI"
    if facts.vm_uuid:
        return _ok("vm_uuid", facts.vm_uuid, wish)
    if facts.vm_uuid_exists and facts.uid != 0:
        return Finding("vm_uuid", "warning", "readable by root only", wish, "run with become: true")
    remedy = "let the hypervisor give the VM an SMBIOS UUID; without it a disc cannot be matched to its VM"
    return Finding("vm_uuid", "failed", "not readable", wish, remedy)


def _writable(place: Place, facts: Facts) -> Finding:
    name = "writable:{0}".format(place.path)
    wish = "a folder that root can write to"
    if place.kind != "other" and place.writable:
        return _ok(name, place.kind, wish)
    if place.kind != "other" and facts.uid != 0:
        return Finding(name, "warning", "not writable for uid {0}".format(facts.uid), wish, "run with become: true")
    found = "not a folder" if place.kind == "other" else "not writable"
    return Finding(name, "failed", found, wish, "remount {0} read-write, or free its name".format(place.existing))


def _free_space(place: Place, wanted: Wanted) -> Finding:
    name = "free_space:{0}".format(place.path)
    found = "{0} MB".format(place.free_mb)
    wish = "{0} MB".format(wanted.minimum_free_mb)
    if place.free_mb >= wanted.minimum_free_mb:
        return _ok(name, found, wish)
    remedy = "free space on the file system of {0}, or lower minimum_free_mb".format(place.existing)
    return Finding(name, "failed", found, wish, remedy)


def _mount_point(place: Place, facts: Facts) -> Finding:
    name = "mount_point"
    wish = "{0}: an unused folder, or one that can be made".format(place.path)
    if place.mounted is not None and place.mounted != "iso9660":
        remedy = "unmount {0}, or give another mount_point".format(place.path)
        return Finding(name, "failed", "in use by a {0} file system".format(place.mounted), wish, remedy)
    if place.kind == "other":
        return Finding(name, "failed", "not a folder", wish, "give another mount_point")
    if place.kind == "missing" and not place.writable:
        state = "failed" if facts.uid == 0 else "warning"
        remedy = "make the folder, or give another mount_point" if facts.uid == 0 else "run with become: true"
        return Finding(name, state, "missing below {0}, not writable".format(place.existing), wish, remedy)
    return _ok(name, place.kind, wish)


def _endpoint(facts: Facts, wanted: Wanted) -> Finding:
    wish = "TCP reach of {0}".format(wanted.endpoint)
    if facts.endpoint_error is None:
        return _ok("endpoint", "reached", wish)
    # Only a warning: a guest without a route may still have a link over its serial port.
    remedy = "allow the guest's connections to {0} in firewalls between the two".format(wanted.endpoint)
    return Finding("endpoint", "warning", facts.endpoint_error, wish, remedy)
