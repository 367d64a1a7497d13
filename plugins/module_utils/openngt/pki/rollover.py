# SPDX-License-Identifier: GPL-3.0-or-later
"""One CA follows another in a CA folder, in steps that a crash cannot tear.

The folder keeps the CA in use as `ca.pem` and `ca.key` until the end. The next one lives in `next/`, a CA folder of its
own, with `cross.pem`: its name and key under the signature of the CA in use, by which a guest that trusts only that one
comes to trust the next. `rollover.json` says how far it is and so decides; all else that a step leaves is brought in
line with it by `load_succession`.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..effects import file_errors, fsync_directory, replace_file, write_private
from ..errors import OpenNGTError
from ..failpoints import failpoint
from . import _x509
from ._folder import locked
from .authority import (
    BACKDATE,
    CERTIFICATE,
    KEY,
    Authority,
    create_successor,
    has_authority,
    load_authority,
    load_ca_certificate,
)
from .inspect import describe_certificate

__all__ = [
    "NEXT",
    "STATE_FILE",
    "Phase",
    "Succession",
    "abort_next",
    "activate_next",
    "held_still",
    "load_succession",
    "prepare_next",
    "retire_old",
]

Phase = Literal["none", "prepared", "activated"]
"""`prepared`: the old CA signs, the next can be trusted. `activated`: the next signs, the old is still trusted."""

Stage = Literal["prepared", "activated", "retiring", "aborting"]
"""As `rollover.json` has it: the last two are steps that the next load finishes."""

NEXT, CROSS, STATE_FILE = "next", "cross.pem", "rollover.json"
FORMAT = "openngt-rollover-1"
MOST_CROSS = 2
"""Two fit on a disc beside an RSA key and its certificate; an agent that slept for longer is installed anew."""

END = b"-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Succession:
    """Who signs, who is trusted, who vouches for whom. All PEM values are whole certificates, each with its newline."""

    phase: Phase
    signer: Authority
    other: _x509.x509.Certificate | None = None
    """While two CAs are trusted, the one that does not sign."""
    vouching_pem: bytes = b""
    """By which older CAs vouch for the one that signs, newest first: for discs, which reach agents that slept."""
    since: datetime.datetime | None = None
    """When the phase began."""

    @property
    def trusted_pem(self) -> bytes:
        """Every CA that gateway and clients of the API have to trust now, the older first: as `ca.pem` has it."""
        two = [self.signer.certificate_pem] + ([] if self.other is None else [_x509.certificate_pem(self.other)])
        return b"".join(reversed(two) if self.phase == "activated" else two)

    @property
    def handed_pem(self) -> bytes:
        """What agents are given to trust: the next CA ahead of its time, and the old one no more once it is."""
        return self.trusted_pem if self.phase == "prepared" else self.signer.certificate_pem

    @property
    def server_chain_pem(self) -> bytes:
        """What servers show behind their own certificate, for those that hold the old CA alone."""
        return b"".join(_split(self.vouching_pem)[:1]) if self.phase == "activated" else b""

    @property
    def other_sha256(self) -> str | None:
        return None if self.other is None else describe_certificate(self.other).sha256

    @property
    def next_sha256(self) -> str | None:
        """Of the CA that is handed out beside the one that signs."""
        return self.other_sha256 if self.phase == "prepared" else None

    @property
    def oldest_sha256(self) -> str:
        """Of the CA that ends first: what a certificate is taken for whose CA nobody has written down."""
        return (self.other_sha256 if self.phase == "activated" else None) or self.signer.ca_sha256

    @property
    def oldest(self) -> _x509.x509.Certificate:
        return self.other if self.phase == "activated" and self.other is not None else self.signer.certificate


def load_succession(folder: Path, *, passphrase: bytes | None = None) -> Succession:
    """The CAs of the folder, once a step that was cut short is finished. Errors are those of `load_authority`."""
    with held_still(folder, passphrase=passphrase) as succession:
        return succession


@contextmanager
def held_still(folder: Path, *, passphrase: bytes | None = None) -> Iterator[Succession]:
    """As `load_succession`; no step is taken while the block runs, so the folder's files can be copied."""
    load_ca_certificate(folder)  # CA_NOT_FOUND before the folder is locked
    with locked(folder), file_errors(str(folder)):
        _settle(folder)
        yield _load(folder, passphrase)


def prepare_next(folder: Path, *, now: datetime.datetime, passphrase: bytes | None = None) -> Succession:
    """Make the next CA; the one in use goes on signing. A prepared or activated one is left as it is."""
    with locked(folder), file_errors(str(folder)):
        _settle(folder)
        if _stage(folder) is None:
            old = load_authority(folder, passphrase=passphrase)
            place = folder / NEXT
            made = has_authority(place)
            new = (
                load_authority(place, passphrase=passphrase)
                if made
                else create_successor(place, old, now=now, passphrase=passphrase)
            )
            replace_file(str(place / CROSS), _cross_sign(old, new, now))
            failpoint("pki.rollover.vouched")
            _write_stage(folder, "prepared", now)
            failpoint("pki.rollover.prepared")
            _settle(folder)
        return _load(folder, passphrase)


def activate_next(folder: Path, *, now: datetime.datetime, passphrase: bytes | None = None) -> Succession:
    """Let the prepared CA sign; an activated one is left as it is. CA_NOT_FOUND when none is prepared."""
    with locked(folder), file_errors(str(folder)):
        _settle(folder)
        stage = _stage(folder)
        if stage is None:
            raise OpenNGTError("CA_NOT_FOUND", f"{folder} holds no CA that is prepared", remedy="prepare one first")
        if stage == "prepared":
            _write_stage(folder, "activated", now)
            failpoint("pki.rollover.activated")
        return _load(folder, passphrase)


def retire_old(folder: Path, *, now: datetime.datetime, passphrase: bytes | None = None) -> Succession:
    """Remove the old CA and its key; the next one takes its place. Nothing to do when none is activated."""
    with locked(folder), file_errors(str(folder)):
        _settle(folder)
        if _stage(folder) == "activated":
            _write_stage(folder, "retiring", now)
            failpoint("pki.rollover.retiring")
            _settle(folder)
        return _load(folder, passphrase)


def abort_next(folder: Path, *, now: datetime.datetime, passphrase: bytes | None = None) -> Succession:
    """Remove a CA that is prepared and its key. Nothing to do in another phase."""
    with locked(folder), file_errors(str(folder)):
        _settle(folder)
        if _stage(folder) == "prepared":
            _write_stage(folder, "aborting", now)
            failpoint("pki.rollover.aborting")
            _settle(folder)
        return _load(folder, passphrase)


def _load(folder: Path, passphrase: bytes | None) -> Succession:
    stage = _stage(folder)
    current, since = load_authority(folder, passphrase=passphrase), _since(folder)
    cross = _read(folder / CROSS)
    if stage is None:
        return Succession("none", current, None, cross, None)
    following = load_authority(folder / NEXT, passphrase=passphrase)
    if stage == "prepared":
        return Succession("prepared", current, following.certificate, cross, since)
    return Succession("activated", following, current.certificate, _newest(folder), since)


def _settle(folder: Path) -> None:
    """Make the files agree with `rollover.json`. Each line can be repeated."""
    stage = _stage(folder)
    if stage in ("prepared", "activated"):
        # Old first: `ca.key` belongs to the first certificate of `ca.pem`, and clients on this host trust both.
        both = _own(folder) + _own(folder / NEXT)
        if (folder / CERTIFICATE).read_bytes() != both:
            replace_file(str(folder / CERTIFICATE), both)
            failpoint("pki.rollover.announced")
    elif stage == "retiring":
        _take_the_place(folder)
    elif stage == "aborting":
        replace_file(str(folder / CERTIFICATE), _own(folder))
        failpoint("pki.rollover.withdrawn")
        _forget_next(folder)


def _take_the_place(folder: Path) -> None:
    place = folder / NEXT
    if (place / CROSS).exists():
        replace_file(str(folder / CROSS), _newest(folder))
        failpoint("pki.rollover.remembered")
        (place / CROSS).unlink()
        fsync_directory(str(place))
    if (place / KEY).exists():
        (place / KEY).replace(folder / KEY)  # the old key is gone
        fsync_directory(str(folder))
        failpoint("pki.rollover.key_replaced")
    if (place / CERTIFICATE).exists():
        (place / CERTIFICATE).replace(folder / CERTIFICATE)
        fsync_directory(str(folder))
        failpoint("pki.rollover.certificate_replaced")
    _forget_next(folder)


def _forget_next(folder: Path) -> None:
    if (folder / NEXT).exists():
        shutil.rmtree(folder / NEXT)
        fsync_directory(str(folder))
        failpoint("pki.rollover.next_removed")
    (folder / STATE_FILE).unlink()
    fsync_directory(str(folder))


def _cross_sign(old: Authority, new: Authority, now: datetime.datetime) -> bytes:
    """The new CA's name and key under the old one's signature."""
    x509 = _x509.x509
    own = old.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    common = _x509.template(
        old.certificate.subject,
        [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_x509.key_usage(signs_certificates=True), True),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value), False),
        ],
    )
    # To the new CA's end, not the old one's: an agent may wake when the old one is over (see `agent/verify.py`).
    certificate = _x509.sign(
        common,
        subject=new.certificate.subject,
        public_key=new.private_key.public_key(),
        issuer_key=old.private_key,
        not_before=now - BACKDATE,
        not_after=new.not_after,
    )
    return _x509.certificate_pem(certificate)


def _newest(folder: Path) -> bytes:
    """What vouches for the next CA, then what vouches for the one before it."""
    vouching = _split(_read(folder / NEXT / CROSS)) + _split(_read(folder / CROSS))
    # Each once: a retirement that was cut short has written some of them already.
    return b"".join([*dict.fromkeys(vouching)][:MOST_CROSS])


def _own(folder: Path) -> bytes:
    """The folder's own certificate, the first of its file."""
    return _x509.certificate_pem(load_ca_certificate(folder))


def _split(pem: bytes) -> list[bytes]:
    return [part + END for part in pem.split(END) if part.strip()]


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _write_stage(folder: Path, stage: Stage, now: datetime.datetime) -> None:
    state = {"format": FORMAT, "phase": stage, "since": now.astimezone(datetime.UTC).isoformat(timespec="seconds")}
    write_private(str(folder / STATE_FILE), json.dumps(state).encode())


def _state(folder: Path) -> dict[str, str]:
    """Empty when no rollover is under way; CERTIFICATE_INVALID for a file that says anything else."""
    content = _read(folder / STATE_FILE)
    if not content:
        return {}
    try:
        state: dict[str, str] = json.loads(content)
        datetime.datetime.fromisoformat(state["since"])
        if state["format"] == FORMAT and state["phase"] in get_args(Stage):
            return state
    except (ValueError, KeyError, TypeError):
        pass
    raise OpenNGTError(
        "CERTIFICATE_INVALID",
        f"{folder / STATE_FILE} does not say how far the CA's rollover is",
        remedy="restore the state folder from a backup: openngt restore",
    )


def _stage(folder: Path) -> str | None:
    return _state(folder).get("phase")


def _since(folder: Path) -> datetime.datetime | None:
    state = _state(folder)
    return datetime.datetime.fromisoformat(state["since"]) if state else None
