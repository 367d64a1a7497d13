# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules and dashboard: right by Prometheus' own tool and Grafana's own types, about metrics that are there."""

import enum
import json
import re
import subprocess
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.fakes.scraping import scrape
from tests.fakes.service import ServiceProcess

FOLDER = Path(__file__).resolve().parents[2] / "docs/monitoring"
RULES, RULES_TEST, DASHBOARD = (
    FOLDER / name for name in ("openngt_rules.yml", "openngt_rules_test.yml", "openngt_dashboard.json")
)
VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a service tells who has a token."""
    service = ServiceProcess(tmp_path_factory.mktemp("service"))
    service.hypervisor.add(VM, "web1", {"cd0": None})
    service.start()
    with service.client() as client:
        client.enable("web1")
        client.wait_task(client.mount("web1", "me", 600), 30)
        client.wait_task(client.run_health(), 30)
    yield scrape(service, service.token).decode()
    service.stop()


def promtool(*arguments: str, stdin: str | None = None, folder: Path = FOLDER) -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [one["expr"] for panel in panels() for one in panel["targets"]]


def exposed(text: str) -> set[str]:
    """Names of series, those included that have no label yet."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        names |= {name} if kind != "histogram" else {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def test_the_rules_do_what_their_tests_say() -> None:
    promtool("check", "rules", RULES.name)
    promtool("test", "rules", RULES_TEST.name)
    tested = {one["alertname"] for test in yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
              for one in test["alert_rule_test"] if one["exp_alerts"]}  # fmt: skip
    assert tested == {rule["alert"] for rule in rules()}, "each rule is seen to alert"


def test_a_rule_that_is_broken_fails_its_tests(tmp_path: Path) -> None:
    """The tests can fail: one number of one rule is another."""
    (tmp_path / RULES.name).write_text(RULES.read_text(encoding="utf-8").replace("< 0.8 *", "< 0.2 *"))
    (tmp_path / RULES_TEST.name).write_bytes(RULES_TEST.read_bytes())
    with pytest.raises(AssertionError, match="OpenngtLinksLost"):
        promtool("test", "rules", RULES_TEST.name, folder=tmp_path)


def test_each_alert_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "remedy"}


def test_what_is_asked_for_is_told(text: str) -> None:
    names = {name for one in expressions() for name in re.findall(r"\bopenngt_\w+", one)}
    assert len(names) > 8
    assert names - exposed(text) == set()


def test_labels_that_are_asked_for_are_told(text: str) -> None:
    """By the values that do not come and go: kinds of certificates, states, checks, reasons of refusals."""
    for one in expressions():
        for label, quoted in re.findall(r'(?<![\w.])(check|state|reason|result|severity)=~?"([^"]*)"', one):
            for value in quoted.split("|"):
                told = f'{label}="{value}"' in text or (label, value) in {("state", "failed")}
                assert told, (label, value)


def test_the_expressions_are_prometheus_own(tmp_path: Path) -> None:
    """Those of the dashboard, too, as rules."""
    made = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions())]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": made}]}))
    promtool("check", "rules", "rules.json", folder=tmp_path)


def test_the_exposition_is_as_prometheus_wants_it(text: str) -> None:
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    complaints = [
        line for line in found.stderr.splitlines() if not re.match(r"(openngt_build_info|python_|process_)", line)
    ]
    assert complaints == []


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value is what Grafana's published model says that it is, to the last leaf."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(conforms(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(conforms(one, arguments[1]) for one in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [one.value for one in hint] or isinstance(value, hint)
    if not isinstance(hint, type) or hint in (str, bool, type(None)):
        return not isinstance(hint, type) or isinstance(value, hint)
    return isinstance(value, hint) and not faults_of(value)


def faults_of(made: Any) -> list[str]:
    """Names of the fields of one object of the model that are not of their type."""
    hints = typing.get_type_hints(type(made).__init__)
    return [
        name
        for name, value in vars(made).items()
        if name in hints and value is not None and not conforms(value, hints[name])
    ]


def without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nothing(one) for name, one in value.items() if one not in (None, {}, [])}
    return [without_nothing(one) for one in value] if isinstance(value, list) else value


def test_the_dashboard_is_of_grafanas_types() -> None:
    given = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    made = Dashboard.from_json(given)
    assert faults_of(made) == []
    again = json.loads(JSONEncoder().encode(made))
    assert without_nothing(again) == without_nothing(given), "Grafana's model knows every key of it"


@pytest.mark.parametrize(
    ("path", "value"),
    [(("title",), 7), (("panels", 0, "gridPos", "h"), "four"), (("panels", 6, "fieldConfig", "defaults", "unit"), 3)],
)
def test_a_dashboard_of_other_types_would_be_found(path: tuple[Any, ...], value: Any) -> None:
    given = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    at = given
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert faults_of(Dashboard.from_json(given)) != []


def test_the_panels_lie_side_by_side_and_have_words() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["title"] and panel["description"] and panel["datasource"]["uid"] == "${datasource}"
