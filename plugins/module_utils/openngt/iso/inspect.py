# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an ISO back and tell everything that is wrong with it, as its guest's agent would judge it and a little more.

The private key is read, to see that it is the certificate's, and never handed out.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..effects import file_errors
from ..errors import OpenNGTError
from ..pki import _x509
from ..pki.inspect import CertificateInfo, certificate_facts, describe_certificate, load_certificate
from ._iso9660 import Image, Node, Tree, invalid
from .layout import CA, CLIENT, CONFIG, MANIFEST, SLOTS
from .manifest import FileEntry, Manifest, format_time, parse_json_object, parse_manifest

__all__ = ["FileReport", "FileState", "IsoReport", "inspect_iso", "iso_facts"]

FileState = Literal["ok", "altered", "missing", "unlisted"]


@dataclass(frozen=True)
class FileReport:
    path: str
    size: int | None
    """Bytes, of a slot without its padding; None when the file is missing."""
    sha256: str | None
    """None as above, and for what the manifest does not name."""
    mode: str | None
    """Four octal digits; None where the volume has no Rock Ridge."""
    state: FileState


@dataclass(frozen=True)
class IsoReport:
    label: str
    manifest: Manifest | None
    """None, as the next three, when it is missing or damaged; `problems` says how."""
    manifest_sha256: str | None
    config: Mapping[str, Any] | None
    certificate: CertificateInfo | None
    files: tuple[FileReport, ...]
    """All that the manifest names or the volume holds, sorted by path."""
    problems: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether the disc is whole, and vouched for by the CA whose certificate is on it."""
        return not self.problems


def inspect_iso(path: Path, *, now: datetime.datetime, ca_sha256: str | None = None) -> IsoReport:
    """Judge an ISO at the time `now`; with `ca_sha256` its CA must be that one, without it any CA will do.

    DISC_NOT_FOUND; DISC_INVALID for what is no ISO 9660 volume, or one that no reader should trust its eyes with.
    LIBRARY_MISSING. Whatever else is wrong stands in `problems`.
    """
    _x509.require()
    with file_errors(str(path)):
        if not path.is_file():
            raise OpenNGTError("DISC_NOT_FOUND", f"there is no file {path}", {"path": str(path)})
        descriptor = os.open(path, os.O_RDONLY)
    try:
        return _Inspection(Image(descriptor), now, ca_sha256).report()
    finally:
        os.close(descriptor)


def iso_facts(report: IsoReport, now: datetime.datetime) -> dict[str, Any]:
    """The JSON form, for module, API and CLI: times RFC 3339, the certificate as `certificate_facts`."""
    manifest = None
    if report.manifest is not None:
        manifest = {
            **{name: value for name, value in asdict(report.manifest).items() if name != "files"},
            "created": format_time(report.manifest.created),
            "expires": format_time(report.manifest.expires),
            "sha256": report.manifest_sha256,
        }
    return {
        "label": report.label,
        "manifest": manifest,
        "config": report.config,
        "certificate": certificate_facts(report.certificate, now) if report.certificate else None,
        "files": [asdict(file) for file in report.files],
        "verified": report.verified,
        "problems": list(report.problems),
    }


@dataclass
class _Inspection:
    image: Image
    now: datetime.datetime
    ca_sha256: str | None
    problems: list[str] = field(default_factory=list)

    def report(self) -> IsoReport:
        tree = self.image.tree(self.image.primary)
        if sum(node.record.size for node in tree.files.values()) > self.image.size:
            raise invalid("the files of the volume overlap")
        self.problems += _volume_problems(self.image, tree)
        content = {path: self._slot(tree, path) for path in SLOTS}
        manifest = self._manifest(content[MANIFEST])
        config = self._config(content[CONFIG])
        sha256 = hashlib.sha256(content[MANIFEST] or b"").hexdigest() if manifest else None
        files = tuple(_file_reports(self.image, tree, manifest.files if manifest else ()))
        self.problems += [f"{file.path} is {file.state}" for file in files if manifest and file.state != "ok"]
        authorities = self._authorities(content[CA])
        certificate = self._certificate(content[CLIENT], authorities)
        if manifest is not None:
            self.problems += _time_problems(manifest, self.now)
            if config is not None:
                self.problems += _config_problems(config, manifest)
            if certificate is not None and sha256 is not None:
                self.problems += _identity_problems(certificate, manifest, sha256)
            self.problems += self._ca_problems(authorities, manifest)
        return IsoReport(
            label=self.image.primary.label,
            manifest=manifest,
            manifest_sha256=sha256,
            config=config,
            certificate=certificate,
            files=files,
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def _slot(self, tree: Tree, path: str) -> bytes | None:
        """The content of a slot without its padding."""
        node = tree.files.get(path)
        if node is None:
            self.problems.append(f"{path} is missing")
            return None
        if node.record.size > SLOTS[path]:
            self.problems.append(f"{path} has more than {SLOTS[path]} bytes")
            return None
        return self.image.read(node.record.offset, node.record.size).rstrip(b"\n")

    def _manifest(self, content: bytes | None) -> Manifest | None:
        try:
            return None if content is None else parse_manifest(content)
        except OpenNGTError as exc:
            self.problems.append(exc.message)
            return None

    def _config(self, content: bytes | None) -> dict[str, Any] | None:
        try:
            return None if content is None else parse_json_object(content, CONFIG, SLOTS[CONFIG])
        except OpenNGTError as exc:
            self.problems.append(exc.message)
            return None

    def _authorities(self, ca_pem: bytes | None) -> dict[str, _x509.x509.Certificate]:
        """The CA certificates on the disc by their fingerprints; whether they are trusted is asked later."""
        try:
            certificates = [] if ca_pem is None else _certificates(ca_pem)
            return {describe_certificate(certificate).sha256: certificate for certificate in certificates}
        except OpenNGTError as exc:
            self.problems.append(f"{CA}: {exc.message}")
            return {}

    def _certificate(
        self, client_pem: bytes | None, authorities: Mapping[str, _x509.x509.Certificate]
    ) -> CertificateInfo | None:
        if client_pem is None:
            return None
        try:
            leaf = load_certificate(client_pem)
            info = describe_certificate(leaf)
        except OpenNGTError as exc:
            self.problems.append(f"{CLIENT}: {exc.message}")
            return None
        if not _x509.holds_key_of(leaf, client_pem):
            self.problems.append(f"{CLIENT} has not the private key of its certificate")
        if info.usages != ("clientAuth",):
            self.problems.append(f"{CLIENT} is not a client's certificate alone")
        if self.now < info.not_before:
            self.problems.append(f"{CLIENT} is not valid yet")
        if self.now >= info.not_after:
            self.problems.append(f"{CLIENT} has expired")
        # Where one fingerprint is trusted, the signature of any other CA on the disc proves nothing.
        trusted = [ca for sha256, ca in authorities.items() if self.ca_sha256 in (None, sha256)]
        if not any(describe_certificate(ca).is_ca and _x509.is_issued_by(leaf, ca) for ca in trusted):
            self.problems.append(f"{CLIENT} was not signed by the CA")
        return info

    def _ca_problems(self, authorities: Mapping[str, object], manifest: Manifest) -> Iterator[str]:
        if manifest.ca_sha256 not in authorities:
            yield f"{CA} does not hold the CA that {MANIFEST} names"
        if self.ca_sha256 not in (None, manifest.ca_sha256):
            yield f"the disc's CA is {manifest.ca_sha256}, not the expected {self.ca_sha256}"


def _certificates(pem: bytes) -> list[_x509.x509.Certificate]:
    end = b"-----END CERTIFICATE-----"
    return [load_certificate(part + end) for part in pem.split(end)[:-1]] or [load_certificate(pem)]


def _volume_problems(image: Image, tree: Tree) -> Iterator[str]:
    if image.size < image.primary.size:
        yield "the file is shorter than its volume"
    for path, node in sorted(tree.files.items()):
        if node.link or node.record.multi_extent or (node.mode is not None and not stat.S_ISREG(node.mode)):
            yield f"{path} is not a plain file"
    if not tree.rock_ridge:
        yield "the volume has no Rock Ridge names"
    if image.joliet is None:
        yield "the volume has no Joliet names"
    elif _extents(image.tree(image.joliet)) != _extents(tree):
        yield "the volume's Rock Ridge and Joliet views show different files"


def _extents(tree: Tree) -> dict[str, tuple[int, int]]:
    # Where an empty file stands means nothing, and differs between authoring programs.
    return {
        path: (node.record.offset if node.record.size else 0, node.record.size) for path, node in tree.files.items()
    }


def _file_reports(image: Image, tree: Tree, entries: tuple[FileEntry, ...]) -> Iterator[FileReport]:
    named = {entry.path: entry for entry in entries}
    for path in sorted({*named, *tree.files}):
        node, entry = tree.files.get(path), named.get(path)
        if node is None:
            yield FileReport(path, None, None, None, "missing")
            continue
        mode = None if node.mode is None else f"{stat.S_IMODE(node.mode):04o}"
        if entry is None:
            state: FileState = "ok" if path in (MANIFEST, CLIENT) else "unlisted"
            yield FileReport(path, node.record.size, None, mode, state)
            continue
        size, sha256 = _measure(image, path, node)
        state = "ok" if (size, sha256) == (entry.size, entry.sha256) else "altered"
        yield FileReport(path, size, sha256, mode, state)


def _measure(image: Image, path: str, node: Node) -> tuple[int, str]:
    if path in SLOTS and node.record.size <= SLOTS[path]:
        entry = FileEntry.of(path, image.read(node.record.offset, node.record.size).rstrip(b"\n"))
        return entry.size, entry.sha256
    digest = hashlib.sha256()
    for chunk in image.chunks(node.record):
        digest.update(chunk)
    return node.record.size, digest.hexdigest()


def _time_problems(manifest: Manifest, now: datetime.datetime) -> Iterator[str]:
    if now >= manifest.expires:
        yield f"{MANIFEST} has expired"


def _config_problems(config: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    for name in ("vm_uuid", "ngt_uuid", "cluster_uuid", "generation", "ngt_version"):
        if config.get(name) != getattr(manifest, name):
            yield f"{CONFIG} and {MANIFEST} differ in {name}"


def _identity_problems(certificate: CertificateInfo, manifest: Manifest, manifest_sha256: str) -> Iterator[str]:
    for name in ("vm_uuid", "ngt_uuid", "generation"):
        if getattr(certificate, name) != getattr(manifest, name):
            yield f"{CLIENT} and {MANIFEST} differ in {name}"
    if certificate.manifest_sha256 != manifest_sha256:
        yield f"{CLIENT} does not vouch for this {MANIFEST}"
