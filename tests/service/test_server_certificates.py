# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own certificates, looked at again whenever it starts and once in a while."""

import datetime
from pathlib import Path

import pytest

from openngt import effects
from openngt.pki.authority import create_authority
from openngt.pki.inspect import load_certificate
from openngt_service.service_certificates import ensure_server_certificate

NOW = effects.now().replace(microsecond=0)
NAMES = ["guest-tools.example"]


@pytest.mark.parametrize(
    ("years", "kept"), [(0, True), (0.9, True), (3, False), (-2, False)], ids=["today", "last spring", "past", "future"]
)
def test_a_certificate_that_is_not_valid_now_is_replaced_whichever_way_the_clock_had_jumped(
    tmp_path: Path, years: float, kept: bool
) -> None:
    """F15: made two years ahead while the clock was wrong, no agent would take it for two years."""
    authority = create_authority(tmp_path / "ca", common_name="test", now=NOW - datetime.timedelta(days=4 * 365))
    path = tmp_path / "gateway.pem"
    ensure_server_certificate(path, authority, NAMES, NOW - datetime.timedelta(days=365 * years))
    before = path.read_bytes()
    ensure_server_certificate(path, authority, NAMES, NOW)
    assert (path.read_bytes() == before) == kept
    certificate = load_certificate(path.read_bytes())
    assert certificate.not_valid_before_utc <= NOW < certificate.not_valid_after_utc
