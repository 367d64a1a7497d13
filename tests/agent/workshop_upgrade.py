# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers of an upgrade, good ones and every kind of bad one, with the certificates that vouch for them.

Like the discs, on purpose without openngt's own issuing.
"""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID

from .workshop import CLUSTER, DAY, NOW, OTHER_VM, VM, Ca, canonical, rfc3339, vm_uris

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NEW_VERSION = "0.2.0"


def offer_of(package: bytes, **deviations: Any) -> bytes:
    return canonical(
        {
            "format": "openngt-upgrade-1",
            "id": ID,
            "vm_uuid": VM,
            "cluster_uuid": CLUSTER,
            "version": NEW_VERSION,
            "size": len(package),
            "sha256": hashlib.sha256(package).hexdigest(),
            "allow_downgrade": False,
            "rollback_seconds": 120,
            "expires": rfc3339(NOW + DAY),
            **deviations,
        }
    )


def vouched(ca: Ca, offer: bytes, **leaf: Any) -> dict[str, str]:
    uris = [f"urn:openngt:upgrade:sha256:{hashlib.sha256(offer).hexdigest()}"]
    key, certificate = ca.leaf(**{"uris": uris, "common_name": "openngt upgrade", **leaf})
    return {"offer": offer.decode(), "voucher_pem": (key + certificate).decode()}


def make_offers(folder: Path, ca: Ca, other: Ca, package: bytes) -> None:
    """`offers.json`: name -> parameters of agent.upgrade.offer, and the code that refuses it (None: good)."""
    good = offer_of(package)
    older = offer_of(package, version="0.0.9")
    altered = {**vouched(ca, good), "offer": good.decode().replace(NEW_VERSION, "0.3.0")}
    of_a_disc = f"urn:openngt:manifest:sha256:{hashlib.sha256(good).hexdigest()}"
    two = [f"urn:openngt:upgrade:sha256:{hashlib.sha256(text).hexdigest()}" for text in (good, older)]
    half = datetime.timedelta(hours=1)
    offers: dict[str, tuple[dict[str, str], str | None]] = {
        "good": (vouched(ca, good), None),
        "older-that-was-asked-for": (vouched(ca, offer_of(package, version="0.0.9", allow_downgrade=True)), None),
        "older": (vouched(ca, older), "DOWNGRADE_REFUSED"),
        "release-candidate-of-this": (vouched(ca, offer_of(package, version="0.1.0rc1")), "DOWNGRADE_REFUSED"),
        "same": (vouched(ca, offer_of(package, version="0.1.0")), "UPGRADE_INVALID"),
        "other-ca": (vouched(other, good), "UPGRADE_INVALID"),
        "altered": (altered, "UPGRADE_INVALID"),
        "of-another-offer": ({**vouched(ca, older), "offer": good.decode()}, "UPGRADE_INVALID"),
        "voucher-of-a-disc": (vouched(ca, good, uris=[*vm_uris(3), of_a_disc]), "UPGRADE_INVALID"),
        "voucher-of-two": (vouched(ca, good, uris=two), "UPGRADE_INVALID"),
        "server-certificate": (vouched(ca, good, usage=ExtendedKeyUsageOID.SERVER_AUTH), "UPGRADE_INVALID"),
        "expired-voucher": (vouched(ca, good, not_after=NOW - half), "UPGRADE_INVALID"),
        "over": (vouched(ca, offer_of(package, expires=rfc3339(NOW - half))), "UPGRADE_INVALID"),
        "other-vm": (vouched(ca, offer_of(package, vm_uuid=OTHER_VM)), "UPGRADE_INVALID"),
        "other-cluster": (vouched(ca, offer_of(package, cluster_uuid=OTHER_VM)), "UPGRADE_INVALID"),
        "version-climbs": (vouched(ca, offer_of(package, version="../../../tmp")), "UPGRADE_INVALID"),
        "version-is-a-link": (vouched(ca, offer_of(package, version="current")), "UPGRADE_INVALID"),
        "endless": (vouched(ca, offer_of(package, size=1 << 40)), "UPGRADE_INVALID"),
        "no-time-to-prove-itself": (vouched(ca, offer_of(package, rollback_seconds=0)), "UPGRADE_INVALID"),
        "no-offer": (vouched(ca, b"[]"), "UPGRADE_INVALID"),
    }
    rows = {name: {"params": params, "code": code} for name, (params, code) in offers.items()}
    (folder / "offers.json").write_text(json.dumps({"id": ID, "version": NEW_VERSION, "offers": rows}))
    (folder / "package.pyz").write_bytes(package)
