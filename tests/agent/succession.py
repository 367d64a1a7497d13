# SPDX-License-Identifier: GPL-3.0-or-later
"""Discs of CAs that follow another, truly and not, for a guest that has stored an identity of the first."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .workshop import CLIENT, DAY, NOW, Ca, Disc, vm_uris

NAME = "CA that follows itself"


def vouching(by: Ca, signer: ec.EllipticCurvePrivateKey, what: Ca) -> bytes:
    """`what` under a signature that claims to be of `by`."""
    certificate = (
        x509.CertificateBuilder()
        .subject_name(what.subject)
        .issuer_name(by.subject)
        .public_key(what.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 3650 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(what.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Shelf:
    """`expected`: whose identity is stored, and the code that refuses the disc; None if it is good."""

    folder: Path
    agent: bytes
    expected: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def put(self, name: str, stored: str, code: str | None, ca: Ca, *chain: bytes, **deviations: object) -> None:
        def add(files: dict[str, bytes]) -> None:
            files[CLIENT] += b"".join(chain)

        self.write(name, Disc(ca, self.agent, generation=9, **deviations), add)  # type: ignore[arg-type]
        self.expected[name] = (stored, code)

    def write(self, name: str, disc: Disc, change: Callable[[dict[str, bytes]], None]) -> None:
        disc.write(self.folder / name, change)


def make_successions(folder: Path, agent: bytes) -> None:
    """The discs, what guests have stored (`first`, `past`), and `successions.json` that says what is what."""
    first, second, third, rogue = Ca(NAME), Ca(NAME), Ca(NAME), Ca(NAME)
    past = Ca(NAME, not_after=NOW - DAY)
    true, next_but_one = vouching(first, first.key, second), vouching(second, second.key, third)
    shelf = Shelf(folder / "discs-of-successors", agent)
    shelf.put("vouched", "first", None, second, true)
    shelf.put("vouched-twice", "first", None, third, next_but_one, true)
    shelf.put("both-on-the-disc", "first", None, second, true, ca_pem=second.pem + first.pem)
    shelf.put("vouched-by-one-that-is-over", "past", None, second, vouching(past, past.key, second))
    shelf.put("nobody-vouches", "first", "DISC_UNTRUSTED", second)
    shelf.put("a-link-is-missing", "first", "DISC_UNTRUSTED", third, next_but_one)
    shelf.put("rogue", "first", "DISC_UNTRUSTED", rogue)
    shelf.put("rogue-vouches-for-itself", "first", "DISC_UNTRUSTED", rogue, vouching(first, rogue.key, rogue))
    shelf.put("rogue-behind-the-true-one", "first", "DISC_UNTRUSTED", rogue, true)
    shelf.put("rogue-beside-the-true-one", "first", "DISC_UNTRUSTED", rogue, true, ca_pem=first.pem + rogue.pem)
    shelf.put("rogue-where-the-old-is-over", "past", "DISC_UNTRUSTED", rogue, vouching(past, rogue.key, rogue))
    shelf.put("the-old-is-over", "past", "DISC_EXPIRED", past)
    late = {"leaf": {"not_after": NOW - DAY / 2}}
    shelf.put("vouched-and-late", "past", "DISC_EXPIRED", second, vouching(past, past.key, second), **late)
    shelf.put("five-vouch", "first", "DISC_INVALID", second, *[true] * 5)
    put_vouched_by_a_vm(shelf, first, rogue)
    for name, ca in (("first", first), ("past", past)):
        (folder / f"{name}.pem").write_bytes(b"".join(ca.leaf(uris=vm_uris(4), not_after=NOW - DAY / 2)))
        (folder / f"{name}-ca.pem").write_bytes(ca.pem)
    (folder / "successions.json").write_text(json.dumps({"discs": shelf.expected, "second": second.sha256}))


def put_vouched_by_a_vm(shelf: Shelf, first: Ca, rogue: Ca) -> None:
    """Who is root in a guest has a key that the CA has certified, and tries to be a CA with it."""
    key, certificate = first.leaf(uris=vm_uris(3))
    signer = serialization.load_pem_private_key(key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey), "leaves have keys of this kind"
    vm = Ca(NAME, key=signer)
    shelf.put("a-vm-vouches", "first", "DISC_UNTRUSTED", rogue, vouching(vm, signer, rogue), certificate)
