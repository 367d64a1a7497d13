# SPDX-License-Identifier: GPL-3.0-or-later
"""The decision whether a certificate is issued again, as a table."""

import datetime
from dataclasses import replace
from typing import Any

import pytest

from openngt.pki.certificate_plan import (
    ExistingCertificate,
    UnreadableCertificate,
    WantedCertificate,
    plan_certificate,
)
from openngt.pki.inspect import CertificateInfo

VM, OTHER = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
NGT = "11111111-2222-4333-8444-555555555555"
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)

WANTED = WantedCertificate(vm_uuid=VM, ngt_uuid=NGT, key_type="ecdsa-p256", threshold_days=45)
GOOD = ExistingCertificate(
    info=CertificateInfo(
        serial="1e5a",
        vm_uuid=VM,
        ngt_uuid=NGT,
        generation=1,
        manifest_sha256=None,
        not_before=NOW - DAY,
        not_after=NOW + 1000 * DAY,
        key_type="ecdsa-p256",
        issuer="openngt CA",
        sha256="ab" * 32,
        is_ca=False,
        usages=("clientAuth",),
    ),
    mode=0o600,
    of_this_ca=True,
    key_matches=True,
    logged=True,
    revoked=False,
)


def existing(**changes: Any) -> ExistingCertificate:
    """The good one, with some of its own or its certificate's fields replaced."""
    own = {name: value for name, value in changes.items() if hasattr(GOOD, name)}
    of_info = {name: value for name, value in changes.items() if name not in own}
    return replace(GOOD, info=replace(GOOD.info, **of_info), **own)


def test_a_good_certificate_is_left_alone() -> None:
    plan = plan_certificate(GOOD, WANTED, NOW)
    assert (plan.changed, plan.issue, plan.text) == (False, False, None)


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [
        (None, "missing", "there is no certificate"),
        (UnreadableCertificate("no certificate in PEM form was found"), "invalid", "no certificate in PEM form"),
        (existing(key_matches=False), "invalid", "private key"),
        (existing(usages=("serverAuth",)), "invalid", "not a client certificate"),
        (existing(vm_uuid=OTHER), "other_vm", OTHER),
        (existing(vm_uuid=None, ngt_uuid=None), "other_vm", "for no VM"),
        (existing(ngt_uuid=OTHER), "other_identity", OTHER),
        (existing(of_this_ca=False), "other_ca", "another CA"),
        (existing(of_this_ca=False, logged=False), "other_ca", "another CA"),
        (existing(revoked=True), "revoked", "revoked"),
        (existing(logged=False), "unlogged", "issue log"),
        (existing(key_type="rsa-2048"), "key_type", "rsa-2048"),
        (existing(not_after=NOW + 45 * DAY), "expires", "within 45 days (45 left)"),
        (existing(not_after=NOW), "expires", "has expired"),
    ],
)
def test_each_reason_alone_calls_for_a_new_one(found: Any, code: str, text: str) -> None:
    plan = plan_certificate(found, WANTED, NOW)
    assert [reason.code for reason in plan.reasons] == [code]
    assert plan.changed
    assert plan.issue
    assert text in (plan.text or "")


def test_a_day_beyond_the_threshold_is_early_enough() -> None:
    assert not plan_certificate(existing(not_after=NOW + 46 * DAY), WANTED, NOW).changed


def test_a_threshold_of_none_waits_for_expiry() -> None:
    wanted = replace(WANTED, threshold_days=0)
    assert not plan_certificate(existing(not_after=NOW + datetime.timedelta(seconds=1)), wanted, NOW).changed
    assert plan_certificate(existing(not_after=NOW), wanted, NOW).issue


def test_a_mode_that_others_can_read_is_put_right_without_issuing() -> None:
    plan = plan_certificate(existing(mode=0o644), WANTED, NOW)
    assert (plan.changed, plan.issue, plan.text) == (True, False, "the file's mode is 0644")


def test_all_reasons_are_told_at_once() -> None:
    plan = plan_certificate(existing(key_type="ed25519", revoked=True, not_after=NOW, mode=0o640), WANTED, NOW)
    assert [reason.code for reason in plan.reasons] == ["revoked", "key_type", "expires", "mode"]
    assert plan.text == "it was revoked; its key type is ed25519; it has expired; the file's mode is 0640"


def test_an_identity_that_cannot_be_known_yet_is_no_reason() -> None:
    assert not plan_certificate(GOOD, replace(WANTED, ngt_uuid=None), NOW).changed
