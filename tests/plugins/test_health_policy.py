# SPDX-License-Identifier: GPL-3.0-or-later
"""Module `health_policy`, run by ansible-core against the real service."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
POLICY = "openngt.guest_tools.health_policy"
CHECK = "ngt_client_cert_expiry_check"


@pytest.fixture(autouse=True)
def default_again(fleet: Fleet) -> Iterator[None]:
    yield
    [check] = [check for check in fleet.client.health_checks() if check["name"] == CHECK]
    defaults = {threshold["name"]: None for threshold in check["thresholds"]}
    fleet.client.set_health_check(CHECK, enabled=True, alert_from="FAIL", thresholds=defaults)


def test_twelve_steps(fleet: Fleet, run_tasks: RunTasks) -> None:
    """Set, again, modify, again, default, again; each first in check mode."""
    [initial] = [check for check in fleet.client.health_checks() if check["name"] == CHECK]
    wanted = [
        {"thresholds": {"info_days": 120, "warn_days": "60"}},
        {"enabled": False, "alert_from": "WARN"},
        {
            "enabled": True,
            "alert_from": initial["alert_from"],
            "thresholds": {"info_days": "default", "warn_days": None},
        },
    ]
    steps = [{"check": CHECK, **one} for one in wanted for _ in range(2)]
    results = run_tasks(
        [{POLICY: step, "check_mode": check} for step in steps for check in (True, False)],
        diff=True,
        environment=fleet.environment,
    )
    pairs = list(zip(results[::2], results[1::2], strict=True))
    for number, (predicted, real) in enumerate(pairs):
        assert predicted["changed"] == real["changed"] == (number % 2 == 0), (number, predicted, real)
        assert predicted["diff"] == real["diff"], "check mode and run show the same plan"
    assert pairs[0][1]["diff"]["before"]["thresholds"]["info_days"] == 90
    assert pairs[0][1]["diff"]["after"]["thresholds"]["info_days"] == 120
    assert pairs[2][1]["check"]["enabled"] is False and pairs[2][1]["check"]["alert_from"] == "WARN"
    assert pairs[2][0]["check"]["thresholds"][0]["value"] == pairs[0][1]["check"]["thresholds"][0]["value"]
    assert pairs[4][1]["diff"]["after"] == pairs[0][1]["diff"]["before"]
    assert fleet.changes() == ["health.policy"] * 3, "one for each real change, none in check mode"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"check": "ngt_no_check"}, "NOT_FOUND", CHECK),
        ({"check": CHECK, "thresholds": {"days": 3}}, "INVALID_INPUT", "info_days"),
        ({"check": CHECK, "thresholds": {"info_days": "many"}}, "INVALID_INPUT", "thresholds.info_days"),
        ({"check": CHECK, "thresholds": {"info_days": True}}, "INVALID_INPUT", "thresholds.info_days"),
        ({"check": CHECK, "thresholds": {"warn_days": 90}}, "INVALID_INPUT", "less than info_days"),
    ],
)
def test_what_the_service_would_refuse_is_refused_in_check_mode_too(
    fleet: Fleet, run_tasks: RunTasks, options: dict[str, Any], code: str, said: str
) -> None:
    steps = [{POLICY: options, "check_mode": check, "ignore_errors": True} for check in (True, False)]
    for result in run_tasks(steps, environment=fleet.environment):
        assert result["failed"] and result["code"] == code and said in result["msg"] and result["remedy"]


def test_it_takes_an_administrator_in_check_mode_too(fleet: Fleet, run_tasks: RunTasks) -> None:
    token = fleet.client.create_token("policy-operator", "operator")["token"]
    try:
        options = {"check": CHECK, "enabled": True, "token": token}
        for result in run_tasks(
            [{POLICY: options, "check_mode": check, "ignore_errors": True} for check in (True, False)],
            environment=fleet.environment,
        ):
            assert result["failed"] and result["code"] == "FORBIDDEN"
    finally:
        fleet.client.delete_token("policy-operator")
