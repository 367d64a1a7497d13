# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .failures import rank
from .plot import Bar, share
from .text import NOTHING, escaped, plural

__all__ = ["badge", "checks_table", "expiry_table", "fleet_table", "versions_table"]

Json = dict[str, Any]
LINKS = {"serial": "serial", "tls": "network", "inactive": "inactive", "off": "off"}
AGENTS = {
    "current": "as the service",
    "supported": "another, works with the service",
    "too_old": "too old for the service",
    "too_new": "too new for the service",
    "unknown": "not known to the service",
}
HEADS = (
    ("VM", "text"),
    ("State", "state"),
    ("Power", "text"),
    ("Link", "text"),
    ("Agent", "text"),
    ("Guest", "text"),
    ("Certificate ends", "text"),
    ("Days left", "number"),
    ("Causes", "text"),
)
FILTERS = (
    ("", "all VMs"),
    ("found", "something is wrong"),
    ("FAIL", "FAIL"),
    ("WARN", "WARN"),
    ("inactive", "link inactive"),
    ("ending", "certificate ends within 90 days"),
    ("other", "agent of another version"),
    ("not_seen", "agent never seen"),
)


def versions_table(report: Json) -> str:
    versions, total = report["versions"], report["counts"]["vms"]
    if not versions:
        return "<section>\n<h2>Agents</h2>\n<p>No agent has connected yet.</p>\n</section>"
    rows = "\n".join(
        f'<tr><th scope="row">{escaped(one["agent_version"])}</th>'
        f"<td>{AGENTS.get(one['agent'], escaped(one['agent']))}</td>"
        f'<td class="n">{one["vms"]:,}</td>'
        f'<td class="bar">{share([("plain", one["vms"]), ("rest", total - one["vms"])])}</td></tr>'
        for one in versions
    )
    return (
        '<section>\n<h2>Agents</h2>\n<table>\n<thead><tr><th scope="col">Version</th><th scope="col">Which is</th>'
        '<th scope="col" class="n">VMs</th><th scope="col"><span class="unseen">Share</span></th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</section>"
    )


def expiry_table(bars: Sequence[Bar]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escaped(month.title)}</th><td class="n">{month.total:,}</td>'
        + "".join(f'<td class="n">{month.expiry.get(state, 0):,}</td>' for state in ("FAIL", "WARN", "INFO", "PASS"))
        + "</tr>"
        for month in bars
    )
    heads = "".join(
        f'<th scope="col" class="n">{text}</th>' for text in ("Certificates", "FAIL", "WARN", "INFO", "PASS")
    )
    return f'<table>\n<thead><tr><th scope="col">End</th>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>'


def checks_table(checks: Sequence[Json]) -> str:
    ordered = sorted(checks, key=lambda check: (rank(check["state"]), check["name"]))
    rows = "\n".join(
        f"<tr><td>{badge(check['state'])}</td>"
        f'<th scope="row">{escaped(check["title"])}</th>'
        f'<td class="c">{escaped(check["message"] or "as it should be")}</td>'
        f'<td class="n">{sum(check["items"].values()):,}</td>'
        f'<td class="c"><code>{escaped(check["name"])}</code></td></tr>'
        for check in ordered
    )
    return (
        '<h2>Health checks</h2>\n<div class="wide" tabindex="0" role="region" aria-label="Health checks">\n<table>\n'
        '<thead><tr><th scope="col">State</th><th scope="col">Check</th><th scope="col">Result</th>'
        '<th scope="col" class="n">Findings</th><th scope="col">Name</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def fleet_table(vms: Sequence[Json]) -> str:
    if not vms:
        return '<h2 id="vms">VMs</h2>\n<p>No VM is enrolled yet.</p>'
    heads = "".join(f'<th scope="col" data-sort="{kind}">{text}</th>' for text, kind in HEADS)
    choices = "".join(f'<option value="{tag}">{text}</option>' for tag, text in FILTERS)
    rows = "\n".join(map(row, vms))
    return (
        '<h2 id="vms">VMs</h2>\n'
        '<div class="filters" id="filters" role="search" aria-label="Which VMs are shown" hidden>'
        '<p><label for="text">Contains</label><input id="text" type="search" autocomplete="off"></p>'
        f'<p><label for="only">Only</label><select id="only" autocomplete="off">{choices}</select></p>'
        '<p id="shown" role="status" class="quiet"></p></div>\n'
        '<div class="wide" tabindex="0" role="region" aria-label="VMs">\n<table id="fleet">\n'
        f"<caption>{plural(len(vms), 'VM')}, by name</caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def row(vm: Json) -> str:
    """The row's classes are what the filter knows."""
    return "".join(
        (
            f'<tr class="{escaped(tags_of(vm))}">',
            f'<th scope="row" title="{escaped(vm["vm_uuid"])}">{escaped(vm["vm_name"])}</th>',
            f"<td>{badge(vm['state'])}</td>",
            f"<td>{escaped(vm['power_state'])}</td>",
            f"<td>{escaped(LINKS.get(vm['link'], vm['link']))}</td>",
            f'<td class="w">{escaped(vm["agent_version"] or NOTHING)}</td>',
            f'<td class="c">{escaped(vm["guest_os_name"] or NOTHING)}</td>',
            f'<td class="w">{escaped((vm["certificate_expires"] or NOTHING)[:10])}</td>',
            f'<td class="n">{days_left(vm)}</td>',
            f'<td class="c">{escaped(" ".join(vm["causes"]) or NOTHING)}</td></tr>',
        )
    )


def badge(state: str, text: str | None = None) -> str:
    return f'<span class="s {escaped(state)}">{escaped(state if text is None else text)}</span>'


def days_left(vm: Json) -> str:
    if vm["days_left"] is None:
        return NOTHING
    days = f"{vm['days_left']:,}"
    return badge(vm["expiry"], days) if rank(vm["expiry"]) < rank("PASS") else days


def tags_of(vm: Json) -> str:
    tags = [vm["state"]]
    if vm["state"] != "PASS":
        tags.append("found")
    if vm["link"] == "inactive":
        tags.append("inactive")
    if rank(vm["expiry"]) < rank("PASS"):
        tags.append("ending")
    if vm["agent"] == "not_seen":
        tags.append("not_seen")
    elif vm["agent"] != "current":
        tags.append("other")
    return " ".join(tags)
