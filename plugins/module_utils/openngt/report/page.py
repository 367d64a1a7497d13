# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one page of HTML that needs nothing but itself. Pure.

Its policy lets it load nothing, and run and style nothing but its own script and sheet, which it names by their hashes.
So what a guest or a VM's owner wrote can do nothing there, even if it were not escaped, which it is.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

from .page_style import SCRIPT, STYLE
from .page_tables import badge, checks_table, expiry_table, fleet_table, versions_table
from .plot import bars_of, expiry_plot, share
from .text import NOTHING, escaped, plural

__all__ = ["page_text"]

Json = dict[str, Any]
MEANS = {"FAIL": "do something now", "WARN": "do something soon", "INFO": "worth knowing", "PASS": "as it should be"}
LINK_WORDS = {
    "serial": "active over the serial port",
    "tls": "active over the network",
    "inactive": "inactive",
    "off": "the VM is off",
}
SOURCES = {"health": "health check", "task": "failed task", "customization": "customization"}
LISTED = 20
"""Names that stand in the open; more of them can be unfolded."""


def page_text(report: Json) -> str:
    """The whole fleet on one page, one VM a line."""
    now = datetime.datetime.fromisoformat(report["generated_at"])
    parts = [
        head(),
        "<body>",
        '<a class="unseen skip" href="#vms">To the table of VMs</a>',
        heading(report, now),
        cards(report),
        "<main>",
        failures_part(report["failures"]),
        expiry_part(report, now),
        '<div class="two">',
        links_part(report),
        versions_table(report),
        "</div>",
        checks_table(report["checks"]),
        fleet_table(report["vms"]),
        "</main>",
        footer(report),
        f"<script>{SCRIPT}</script>",
        "</body>\n</html>",
    ]
    return "\n".join(parts) + "\n"


def head() -> str:
    policy = (
        f"default-src 'none'; style-src {digest(STYLE)}; script-src {digest(SCRIPT)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n<title>Guest tools report</title>\n'
        f"<style>{STYLE}</style>\n</head>"
    )


def digest(text: str) -> str:
    """As a content policy names an inline script or sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def heading(report: Json, now: datetime.datetime) -> str:
    service = report["service"]
    return (
        '<header>\n<h1>Guest tools report</h1>\n<p class="quiet">As the service had it at '
        f'<time id="generated" datetime="{report["generated_at"]}">{now:%Y-%m-%d %H:%M:%S} UTC</time> · '
        f"cluster <code>{escaped(service['cluster_uuid'])}</code> · service {escaped(service['version'])} · "
        f"its CA ends {escaped(service['ca_expires'][:10])}</p>\n</header>"
    )


def footer(report: Json) -> str:
    return (
        f'<footer class="quiet"><p>openngt {escaped(report["service"]["version"])}. Nothing on this page is loaded '
        "from elsewhere. All of a VM's values stand in the JSON and CSV forms of this report.</p></footer>"
    )


def cards(report: Json) -> str:
    """The numbers that one looks for first, each with what it is out of."""
    counts = report["counts"]
    links, expiry, states, agents = counts["links"], counts["expiry"], counts["states"], counts["agents"]
    other = sum(number for name, number in agents.items() if name not in ("current", "not_seen"))
    shown = (
        ("", counts["vms"], "enrolled VMs", f"{agents['not_seen']:,} have never connected"),
        (
            "WARN" if links["inactive"] else "PASS",
            links["serial"] + links["tls"],
            "links active",
            f"{links['inactive']:,} inactive, {links['off']:,} off",
        ),
        (
            worst(states),
            states["FAIL"] + states["WARN"],
            "VMs to look at",
            f"{states['FAIL']:,} now, {states['WARN']:,} soon",
        ),
        (
            worst(expiry),
            expiry["FAIL"] + expiry["WARN"],
            "certificates end soon",
            f"{expiry['FAIL']:,} expired or within days of it",
        ),
        (
            "INFO" if other else "PASS",
            other,
            "agents of another version",
            f"{agents['current']:,} as the service",
        ),
    )
    items = "\n".join(
        f'<li class="{state}"><strong>{number:,}</strong><span>{words}</span><span class="quiet">{beside}</span></li>'
        for state, number, words, beside in shown
    )
    return f'<ul class="cards" aria-label="The fleet in numbers">\n{items}\n</ul>'


def worst(counts: Json) -> str:
    return next((state for state in ("FAIL", "WARN") if counts[state]), "PASS")


def failures_part(failures: Sequence[Json]) -> str:
    if not failures:
        return '<h2>What is wrong</h2>\n<p class="well">Nothing: every check passes, and nothing has failed lately.</p>'
    found = "\n".join(map(cause, failures))
    return f'<h2>What is wrong, by cause</h2>\n<ul class="causes">\n{found}\n</ul>'


def cause(one: Json) -> str:
    remedies = "".join(f"<p>{escaped(text)}</p>" for text in one["remedies"])
    message = escaped(one["items"][0]["message"])
    return (
        f'<li class="{escaped(one["state"])}"><div class="head">{badge(one["state"])}'
        f"<h3>{escaped(one['title'])}</h3><span>{concerned(one['items'])}</span>"
        f'<span class="quiet"><code>{escaped(one["cause"])}</code>, {SOURCES[one["source"]]}</span></div>'
        f"<dl><dt>{'Finding' if one['count'] == 1 else 'Example'}</dt><dd>{message}</dd>"
        f"<dt>Remedy</dt><dd>{remedies or NOTHING}</dd><dt>Where</dt><dd>{members(one['items'])}</dd></dl></li>"
    )


def concerned(items: Sequence[Json]) -> str:
    vms = sum(item["vm_uuid"] is not None for item in items)
    return plural(vms, "VM") if vms else plural(len(items), "part of the service", "parts of the service")


def members(items: Sequence[Json]) -> str:
    names = [escaped(item["vm_name"] or item["name"] or item["vm_uuid"] or NOTHING) for item in items]
    if len(names) <= LISTED:
        return ", ".join(names)
    rest = "\n".join(f"<li>{name}</li>" for name in names)
    return (
        f"{', '.join(names[:LISTED])} …\n"
        f'<details><summary>all {len(names):,}</summary><ul class="members">{rest}</ul></details>'
    )


def expiry_part(report: Json, now: datetime.datetime) -> str:
    bars = bars_of(report["expiry_months"], now)
    if not bars:
        return "<h2>When certificates end</h2>\n<p>There is no certificate.</p>"
    keys = "".join(
        f'<li><span class="k {state}"></span>{state}: {MEANS[state]} ({report["counts"]["expiry"][state]:,})</li>'
        for state in ("FAIL", "WARN", "INFO", "PASS")
    )
    return (
        '<h2>When certificates end</h2>\n<figure tabindex="0" role="group" aria-label="When certificates end">\n'
        f'{expiry_plot(bars)}\n<figcaption><ul class="legend">{keys}</ul></figcaption>\n</figure>\n'
        f'<details class="numbers"><summary>The numbers</summary>{expiry_table(bars)}</details>'
    )


def links_part(report: Json) -> str:
    counts = report["counts"]["links"]
    words = "".join(
        f'<li><span class="k {name}"></span>{escaped(LINK_WORDS.get(name, name))}: {number:,}</li>'
        for name, number in counts.items()
    )
    return f'<section>\n<h2>Links</h2>\n{share([*counts.items()])}\n<ul class="legend">{words}</ul>\n</section>'
