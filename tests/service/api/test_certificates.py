# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own server certificates: kept while they fit, made anew when they end soon or are for others."""

import datetime
from pathlib import Path

import pytest

from openngt import effects
from openngt.pki.authority import create_authority
from openngt.pki.inspect import inspect_certificate
from openngt_service.config import load_settings
from openngt_service.service_certificates import api_names, ensure_server_certificate

DAY = datetime.timedelta(days=1)


def test_a_certificate_is_kept_until_45_days_are_left(tmp_path: Path) -> None:
    now = effects.now()
    authority = create_authority(tmp_path / "ca", common_name="test", now=now)
    pem = tmp_path / "api.pem"
    ends = ensure_server_certificate(pem, authority, ["a.example", "192.0.2.1"], now)
    first = pem.read_bytes()
    assert ensure_server_certificate(pem, authority, ["192.0.2.1", "a.example"], ends - 46 * DAY) == ends
    assert pem.read_bytes() == first
    assert ensure_server_certificate(pem, authority, ["a.example", "192.0.2.1"], ends - 45 * DAY) > ends
    assert pem.read_bytes() != first
    assert pem.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["names", "ca", "damage"])
def test_a_certificate_that_no_longer_fits_is_made_anew(tmp_path: Path, change: str) -> None:
    now = effects.now()
    authority = create_authority(tmp_path / "ca", common_name="test", now=now)
    pem = tmp_path / "api.pem"
    ensure_server_certificate(pem, authority, ["a.example"], now)
    first = inspect_certificate(pem.read_bytes()).serial
    if change == "ca":
        authority = create_authority(tmp_path / "other", common_name="test", now=now)
    if change == "damage":
        pem.write_bytes(b"nothing")
    names = ["b.example"] if change == "names" else ["a.example"]
    ensure_server_certificate(pem, authority, names, now)
    assert inspect_certificate(pem.read_bytes()).serial != first


def test_a_certificate_does_not_outlive_its_ca(tmp_path: Path) -> None:
    now = effects.now()
    authority = create_authority(tmp_path / "ca", common_name="test", now=now, validity=100 * DAY)
    assert ensure_server_certificate(tmp_path / "api.pem", authority, ["a.example"], now) <= authority.not_after


def test_the_api_answers_to_loopback_and_to_each_configured_name() -> None:
    settings = load_settings(
        None, {"api_host": "0.0.0.0", "cluster_ip": "192.0.2.10", "api_names": ["VIP.example", "2001:DB8:0::1"]}
    )
    assert api_names(settings) == ["localhost", "127.0.0.1", "::1", "192.0.2.10", "vip.example", "2001:db8::1"]
