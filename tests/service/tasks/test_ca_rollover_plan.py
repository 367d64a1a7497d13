# SPDX-License-Identifier: GPL-3.0-or-later
"""When it is time for which step (T14), and what the health check makes of it."""

import datetime
from pathlib import Path

import pytest

from openngt.pki.authority import create_authority
from openngt.pki.rollover import Succession, activate_next, load_succession, prepare_next
from openngt_service.health.catalogue import CHECKS, default_policy
from openngt_service.health.checks import Facts
from openngt_service.tasks.ca_rollover_plan import advise, judge

MADE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LIFE = datetime.timedelta(days=1200)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    create_authority(tmp_path / "ca", common_name="test", now=MADE + DAY, validity=LIFE - DAY)
    return tmp_path / "ca"


@pytest.mark.parametrize(
    ("phase", "left", "step", "state"),
    [
        ("none", 601, None, None),
        ("none", 599, "prepare", "INFO"),
        ("none", 199, "prepare", "WARN"),
        ("none", -1, "prepare", "WARN"),
        ("prepared", 599, None, None),
        ("prepared", 201, None, None),
        ("prepared", 199, "activate", "WARN"),
        ("activated", 601, "retire", "INFO"),
        ("activated", -1, "retire", "INFO"),
    ],
)
def test_what_it_is_time_for(ca: Path, phase: str, left: int, step: str | None, state: str | None) -> None:
    found = load_succession(ca)
    if phase != "none":
        found = prepare_next(ca, now=MADE)
    if phase == "activated":
        found = activate_next(ca, now=MADE)
    now = MADE + LIFE - left * DAY
    advice = advise(found, now)
    assert (advice and advice.step, advice and advice.state) == (step, state)
    check = CHECKS["ngt_ca_expiry_check"]
    result = check.judge(Facts(now, [], [], {}, ca_advice=advice), default_policy(check).thresholds)
    assert result.state == (state or "PASS")
    if advice is not None:
        [item] = result.items
        assert item["name"] == "CA rollover" and item["message"].endswith(f"next: openngt ca rollover {step}")


def test_preparing_waits_until_it_is_due_unless_it_is_asked_for(ca: Path) -> None:
    alone = load_succession(ca)
    sha256 = alone.signer.ca_sha256

    def changes(now: datetime.datetime, found: Succession = alone, **asked: object) -> bool:
        options = {"force": False, "replaces": None, **asked}
        return judge("prepare", found, [], now=now, **options).change  # type: ignore[arg-type]

    early, late = MADE + DAY, MADE + LIFE / 2 + DAY
    assert (changes(early), changes(late), changes(early, force=True)) == (False, True, True)
    assert (changes(early, replaces=sha256), changes(late, replaces="0" * 64)) == (True, False)
    assert not changes(late, prepare_next(ca, now=MADE), force=True), "there is one already"
