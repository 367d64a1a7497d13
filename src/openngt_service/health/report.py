# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has found, to be kept, sent and read: JSON, and text as people know it from `ncc health_checks`. Pure."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from openngt.version import __version__

from .policy import worst_of

__all__ = ["as_text", "make_report", "summary_of"]

Json = dict[str, Any]
STATES = ("PASS", "INFO", "WARN", "FAIL", "OFF")
WIDTH = 78
RULE = "-" * (WIDTH + 11)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def plain(value: Any) -> Any:
    """JSON values: times as text."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).strftime(TIME_FORMAT)
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def counts_of(checks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {state: sum(check["state"] == state for check in checks) for state in STATES}


def summary_of(checks: Sequence[Mapping[str, Any]]) -> Json:
    """The result of a task: small however many VMs are concerned."""
    return {
        "state": worst_of(check["state"] for check in checks),
        "counts": counts_of(checks),
        "checks": [
            {"name": check["name"], "state": check["state"], "message": check["message"], "items": len(check["items"])}
            for check in checks
        ],
    }


def make_report(checks: Sequence[Mapping[str, Any]], *, node: str, cluster_uuid: str, at: datetime.datetime) -> Json:
    """`checks` as the runner gives them."""
    return {
        "service_version": __version__,
        "cluster_uuid": cluster_uuid,
        "node": node,
        "finished_at": plain(at),
        "state": worst_of(check["state"] for check in checks),
        "counts": counts_of(checks),
        "checks": plain(list(checks)),
    }


def as_text(report: Mapping[str, Any]) -> str:
    """A line for each check, the details of those that found something, and a count."""
    checks = report["checks"]
    lines = [f"Running : health_checks ngt_checks, {report['finished_at']}, openngt {report['service_version']}", RULE]
    for check in checks:
        lines.append(f"{'/health_checks/ngt_checks/' + check['name']:<{WIDTH}} [ {check['state']:<4} ]")
    lines.append(RULE)
    for check in checks:
        lines += details_of(check, report["node"])
    return "\n".join([*lines, "", *table_of(report["counts"])]) + "\n"


def details_of(check: Mapping[str, Any], node: str) -> list[str]:
    if check["state"] == "PASS":
        return []
    lines = ["", f"Detailed information for {check['name']}:", f"Node {node}:", f"{check['state']}: {check['message']}"]
    lines += [one_line(item["message"]) for item in check["items"]]
    if check["items"]:
        lines += [f"Resolution: {resolution}" for resolution in check["resolutions"]]
    return lines


def one_line(text: str) -> str:
    """Names of VMs are other people's: what could move a cursor is shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table_of(counts: Mapping[str, int]) -> list[str]:
    edge = "+---------------+-------+"
    rows = [(state.capitalize() if state != "OFF" else "Turned off", counts[state]) for state in STATES]
    shown = [(name, count) for name, count in rows if count] + [("Total checks", sum(counts.values()))]
    body = [f"| {name:<13} | {count:>5} |" for name, count in shown]
    return [edge, f"| {'State':<13} | {'Count':>5} |", edge, *body[:-1], edge, body[-1], edge]
