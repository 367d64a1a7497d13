# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the Grafana dashboard, by Grafana's own typed builders."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, ThresholdsConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/monitoring/openngt_dashboard.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
DAY = 86400
ENDS = 'openngt_vm_certificate_expiry_timestamp_seconds{kind!="bootstrap"}'


class Query(NamedTuple):
    expression: str
    legend: str = ""


def target(number: int, query: Query, *, instant: bool = False) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id("ABCDEFGH"[number]).expr(query.expression).legend_format(query.legend)
    return made.instant().format(PromQueryFormat.TABLE) if instant else made


def steps(*limits: tuple[float | None, str]) -> ThresholdsConfig:
    made = [Threshold(value=value, color=colour) for value, colour in limits]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


NEUTRAL = steps((None, "blue"))
BAD_FROM_ONE = steps((None, "green"), (1, "red"))


def number(title: str, expression: str, what: str, thresholds: ThresholdsConfig, unit: str = "short") -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(what)
        .datasource(SOURCE)
        .with_target(target(0, Query(expression)))
        .thresholds(thresholds)
        .unit(unit)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(4)
    )


def lines(title: str, what: str, *queries: Query, unit: str = "short", stacked: bool = False) -> timeseries.Panel:
    made = timeseries.Panel().title(title).description(what).datasource(SOURCE).unit(unit).min(0).height(8).span(12)
    made.legend(common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM))
    made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    made.draw_style(GraphDrawStyle.LINE).fill_opacity(25 if stacked else 8)
    if stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for place, query in enumerate(queries):
        made.with_target(target(place, query))
    return made


def rows(title: str, what: str, query: Query, unit: str) -> table.Panel:
    return (
        table.Panel()
        .title(title)
        .description(what)
        .datasource(SOURCE)
        .unit(unit)
        .with_target(target(0, query, instant=True))
        .show_header(True)
        .height(9)
        .span(12)
    )


def numbers() -> list[stat.Panel]:
    return [
        number("Enrolled VMs", "openngt_vms_enrolled", "VMs with guest tools enabled.", NEUTRAL),
        number("Links", "sum(openngt_links)", "Agents that are linked now.", NEUTRAL),
        number(
            "Links down",
            'openngt_health_items{check="ngt_link_check", state="WARN"}',
            "VMs that run and whose agent has no link.",
            BAD_FROM_ONE,
        ),
        number(
            "Certificates within 45 days of their end",
            f"count({ENDS} - time() < 45 * {DAY}) or vector(0)",
            "Those of agents; needs a scrape with a token.",
            BAD_FROM_ONE,
        ),
        number(
            "Worst check",
            "max(openngt_health_check)",
            "0 PASS, 1 INFO, 2 WARN, 3 FAIL.",
            steps((None, "green"), (1, "yellow"), (2, "orange"), (3, "red")),
        ),
        number(
            "Next end of a certificate of the service",
            "min(openngt_certificate_expires_seconds) - time()",
            "CA, gateway and API.",
            steps((None, "red"), (7 * DAY, "orange"), (45 * DAY, "green")),
            unit="s",
        ),
    ]


def charts() -> list[timeseries.Panel]:
    return [
        lines("Links by transport", "Live links.", Query("openngt_links", "{{transport}}"), stacked=True),
        lines("Agents by version", "Linked agents.", Query("openngt_agents", "{{version}}"), stacked=True),
        lines(
            "Findings by check",
            "VMs and parts of the service that a check has found something about.",
            Query("sum by (check, state) (openngt_health_items) > 0", "{{check}} {{state}}"),
        ),
        lines(
            "Connections refused",
            "By reason, for each second.",
            Query("sum by (reason) (rate(openngt_gateway_refused_total[5m])) > 0", "{{reason}}"),
        ),
        lines(
            "Installations",
            "In an hour, by whether an agent came with what was on the disc.",
            Query("sum by (result) (increase(openngt_installs_total[1h]))", "{{result}}"),
        ),
        lines(
            "Tasks that failed",
            "In an hour, by kind.",
            Query('sum by (kind) (increase(openngt_tasks_total{state="failed"}[1h])) > 0', "{{kind}}"),
        ),
        lines(
            "How long tasks take",
            "95 of 100 are quicker.",
            Query(
                "histogram_quantile(0.95, sum by (kind, le) (rate(openngt_task_duration_seconds_bucket[1h])))",
                "{{kind}}",
            ),
            unit="s",
        ),
        lines(
            "The API's answers",
            "95 of 100 are quicker; without the calls that wait for a task.",
            Query(
                "histogram_quantile(0.95, sum by (le) "
                '(rate(openngt_api_request_seconds_bucket{route!="/v1/tasks/{task_id}"}[5m])))',
                "all calls",
            ),
            unit="s",
        ),
    ]


def tables() -> list[table.Panel]:
    return [
        rows(
            "Certificates that end first",
            "Needs a scrape with a token.",
            Query(f"sort(bottomk(20, {ENDS} - time()))"),
            unit="s",
        ),
        rows(
            "VMs that fail a check",
            "3 FAIL, 2 WARN; needs a scrape with a token.",
            Query("sort_desc(openngt_vm_finding > 1)"),
            unit="short",
        ),
    ]


def build() -> Dashboard:
    made = (
        Dashboard("Guest tools")
        .uid("openngt-guest-tools")
        .tags(["openngt"])
        .editable()
        .refresh("1m")
        .time("now-24h", "now")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for panel in [*numbers(), *charts(), *tables()]:
        made.with_panel(panel)
    return made


def text() -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(build().build()) + "\n"


def essence(dashboard: Any) -> list[Any]:
    """What is ours of it. A newer release of the builders may add defaults of its own."""
    return [
        [panel["title"], panel["type"], panel["gridPos"], [query["expr"] for query in panel["targets"]]]
        for panel in dashboard["panels"]
    ]


def main() -> None:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text(), encoding="utf-8")
    elif essence(json.loads(PAGE.read_text(encoding="utf-8"))) != essence(json.loads(text())):
        sys.exit(f"{PAGE.relative_to(ROOT)} has drifted; run scripts/generated")


if __name__ == "__main__":
    main()
