# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA is there after the run, and the same answer is given before it."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt.pki.authority import load_authority
from openngt.pki.ensure_ca import WantedCa, ensure_ca

PASSPHRASE = b"correct horse"


def test_a_ca_is_made_once(tmp_path: Path, now: datetime.datetime) -> None:
    wanted = WantedCa(tmp_path / "ca")
    first = ensure_ca(wanted, check=False, now=now)
    second = ensure_ca(wanted, check=False, now=now)
    assert (first.changed, second.changed) == (True, False)
    assert first.ca == second.ca
    assert first.ca["ca_sha256"] == load_authority(tmp_path / "ca").ca_sha256
    assert (first.ca["common_name"], first.ca["key_type"], first.ca["days_left"]) == ("openngt CA", "ecdsa-p256", 3650)


def test_check_predicts_and_changes_nothing(tmp_path: Path, now: datetime.datetime) -> None:
    wanted = WantedCa(tmp_path / "ca", common_name="Lab", key_type="ed25519", validity_days=20)
    predicted = ensure_ca(wanted, check=True, now=now)
    assert not (tmp_path / "ca").exists()
    made = ensure_ca(wanted, check=False, now=now)
    assert (predicted.changed, predicted.diff) == (made.changed, made.diff)
    assert {**predicted.ca, "ca_sha256": made.ca["ca_sha256"]} == made.ca


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("field", "value"), [("common_name", "Other"), ("key_type", "ed25519")])
def test_another_ca_than_asked_for_is_left_alone_and_told(
    field: str, value: Any, check: bool, tmp_path: Path, now: datetime.datetime
) -> None:
    before = ensure_ca(WantedCa(tmp_path), check=False, now=now).ca
    with pytest.raises(OpenNGTError) as caught:
        ensure_ca(WantedCa(tmp_path, **{field: value}), check=check, now=now)
    assert (caught.value.code, caught.value.details["field"]) == ("CA_EXISTS", field)
    assert ensure_ca(WantedCa(tmp_path), check=False, now=now).ca == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("half_made", [True, False])
def test_a_wrong_passphrase_is_told_in_check_mode_too(
    half_made: bool, check: bool, tmp_path: Path, now: datetime.datetime
) -> None:
    ensure_ca(WantedCa(tmp_path, passphrase=PASSPHRASE), check=False, now=now)
    if half_made:
        (tmp_path / "ca.pem").unlink()
    with pytest.raises(OpenNGTError) as caught:
        ensure_ca(WantedCa(tmp_path, passphrase=b"wrong"), check=check, now=now)
    assert caught.value.code == "CA_PASSPHRASE_WRONG"


@pytest.mark.parametrize(
    ("field", "value"), [("common_name", ""), ("validity_days", 0), ("validity_days", 10**12), ("validity_days", -1)]
)
def test_a_value_out_of_range_is_named(field: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(OpenNGTError) as caught:
        WantedCa(tmp_path, **{field: value})
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})


def test_a_parent_that_is_missing_is_told(tmp_path: Path, now: datetime.datetime) -> None:
    with pytest.raises(OpenNGTError) as caught:
        ensure_ca(WantedCa(tmp_path / "none/ca"), check=False, now=now)
    assert caught.value.code == "FILE_UNUSABLE"
    assert str(tmp_path / "none/ca") in caught.value.message


def test_the_passphrase_is_not_in_the_representation(tmp_path: Path) -> None:
    assert "horse" not in repr(WantedCa(tmp_path, passphrase=PASSPHRASE))
