# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes what the agent's tests judge: CAs, certificates, good discs and every kind of bad one.

On purpose without openngt's own issuing and authoring: what the agent accepts is said here a second time.
"""

import base64
import datetime
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VM = "3f2b1c9a-6a55-4c1e-9a63-0b1d5f1e2a10"
OTHER_VM = "9d9d9d9d-6a55-4c1e-9a63-0b1d5f1e2a10"
NGT = "b7a1f0d2-2f64-4a54-8f1c-6f4f8d0c9e21"
CLUSTER = "0005f3a1-7c2e-4d18-a6b0-5254009a1b2c"
SERVICE_NAME = f"guest-tools.{CLUSTER}"

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)

CONFIG, CLIENT, CA, MANIFEST = "config/ngt_config.json", "config/client.pem", "config/ca.pem", "manifest.json"
AGENT = "agent/ngt_agent.pyz"
PORTS = ["/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1"]
PATH_TRICKS = ("../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "a\\b", "a\0b", "", ".", "config/CA.pem")
SLOTS = {MANIFEST: 32768, CONFIG: 4096, CLIENT: 8192, CA: 8192}


def canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rfc3339(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Ca:
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    not_after: datetime.datetime = NOW + 3650 * DAY

    def __post_init__(self) -> None:
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 10 * DAY)
            .not_valid_after(self.not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def leaf(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        common_name: str = NGT,
        not_before: datetime.datetime = NOW - DAY,
        not_after: datetime.datetime = NOW + DAY,
        signer: ec.EllipticCurvePrivateKey | None = None,
    ) -> tuple[bytes, bytes]:
        """(private key, certificate) as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(signer or self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, certificate.public_bytes(serialization.Encoding.PEM)


def vm_uris(generation: int, vm: str = VM, manifest: bytes | None = None) -> list[str]:
    uris = [f"urn:openngt:vm:{vm}", f"urn:openngt:generation:{generation}"]
    if manifest is not None:
        uris.append(f"urn:openngt:manifest:sha256:{hashlib.sha256(manifest).hexdigest()}")
    return uris


def config_of(generation: int, vm: str = VM, port: int = 2074) -> dict[str, Any]:
    return {
        "cluster_ip": "127.0.0.1",
        "port": port,
        "cluster_uuid": CLUSTER,
        "service_name": SERVICE_NAME,
        "ngt_uuid": NGT,
        "vm_uuid": vm,
        "vm_name": "web01",
        "generation": generation,
        "ngt_version": "0.1.0",
        "capabilities": {"vss_snapshot": True, "self_service_restore": True},
    }


@dataclass
class Disc:
    """A tools disc to be; change a field, or a file after `files`, to make it bad."""

    ca: Ca
    agent: bytes
    generation: int = 3
    vm: str = VM
    version: str = "0.1.0"
    kind: str = "tools"
    expires: datetime.datetime = NOW + DAY
    ca_pem: bytes | None = None
    config: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    leaf: dict[str, Any] = field(default_factory=dict)
    vouches: bool = True
    extra: dict[str, bytes] = field(default_factory=lambda: {"extras/lies mich ü.txt": b"hello"})

    def files(self) -> dict[str, bytes]:
        ca_pem = (self.ca_pem or self.ca.pem).rstrip(b"\n")
        named = {
            CONFIG: canonical({**config_of(self.generation, self.vm), "serial_ports": PORTS, **self.config}),
            CA: ca_pem,
            "installer/linux/install_ngt.py": b"# installer\n",
            **self.extra,
        }
        if self.kind == "tools":
            named[AGENT] = self.agent
        manifest = canonical(
            {
                "format": "openngt-manifest-1",
                "vm_uuid": self.vm,
                "ngt_uuid": NGT,
                "cluster_uuid": CLUSTER,
                "generation": self.generation,
                "kind": self.kind,
                "ngt_version": self.version,
                "created": rfc3339(NOW),
                "expires": rfc3339(self.expires),
                "ca_sha256": self.ca.sha256,
                "files": [
                    {"path": path, "size": len(named[path]), "sha256": hashlib.sha256(named[path]).hexdigest()}
                    for path in sorted(named)
                ],
                **self.manifest,
            }
        )
        uris = vm_uris(self.generation, self.vm, manifest if self.vouches else None)
        key, certificate = self.ca.leaf(**{"uris": uris, **self.leaf})
        return {**named, MANIFEST: manifest, CLIENT: key + certificate}

    def write(self, folder: Path, change: Callable[[dict[str, bytes]], None] = lambda files: None) -> None:
        files = self.files()
        change(files)
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.ljust(SLOTS.get(path, 0), b"\n"))


def flipped(content: bytes, offset: int) -> bytes:
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


def leaf_of(files: Mapping[str, bytes]) -> bytes:
    return files[CLIENT][files[CLIENT].index(b"-----BEGIN CERTIFICATE-----") :]


def tamper_certificate(files: dict[str, bytes]) -> None:
    """Another generation in the signed part; the signature stays."""
    leaf = leaf_of(files)
    der = x509.load_pem_x509_certificate(leaf).public_bytes(serialization.Encoding.DER)
    body = base64.encodebytes(der.replace(b"urn:openngt:generation:3", b"urn:openngt:generation:4")).decode()
    tampered = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()
    files[CLIENT] = files[CLIENT].replace(leaf, tampered)


def tamper_manifest(files: dict[str, bytes]) -> None:
    files[MANIFEST] = files[MANIFEST].replace(b'"generation":3', b'"generation":9')


Change = Callable[[dict[str, bytes]], None]


@dataclass
class Shelf:
    """Discs by folder. `expected`: the code that refuses each to VM where `ca` is pinned; None if good."""

    folder: Path
    ca: Ca
    agent: bytes
    expected: dict[str, str | None] = field(default_factory=dict)

    def disc(self, **deviations: Any) -> Disc:
        return Disc(self.ca, self.agent, **deviations)

    def make(self, name: str, code: str | None, disc: Disc, change: Change | None = None) -> Path:
        disc.write(self.folder / name, change or (lambda files: None))
        self.expected[name] = code
        return self.folder / name


def altered(path: str, offset: int = 5) -> Change:
    return lambda files: files.update({path: flipped(files[path], offset)})


def cut(path: str) -> Change:
    return lambda files: files.update({path: files[path][: len(files[path]) // 2]})


def without(path: str) -> Change:
    return lambda files: files.__delitem__(path) if path in files else None


def make_discs(folder: Path, ca: Ca, other: Ca, agent: bytes) -> dict[str, str | None]:
    """One of each kind; name -> code that refuses it, as in `Shelf`."""
    shelf = Shelf(folder, ca, agent)
    put_good(shelf, other)
    put_untrusted(shelf, other)
    put_damaged(shelf, other)
    put_contradicting(shelf)
    put_links_and_pipes(shelf)
    return shelf.expected


def put_good(shelf: Shelf, other: Ca) -> None:
    shelf.make("good", None, shelf.disc())
    shelf.make("good-config-only", None, shelf.disc(kind="config", extra={}))
    shelf.make("good-newer", None, shelf.disc(generation=7))
    shelf.make("good-newer-agent", None, Disc(shelf.ca, shelf.agent + b"#", generation=7, version="0.2.0"))
    wish = {"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "allow_downgrade": False, "rollback_seconds": 120}
    for name, version in (("good-upgrade", "0.2.0"), ("good-upgrade-older", "0.0.9")):
        asks = {"manifest": {"upgrade": wish}, "generation": 7, "version": version}
        shelf.make(name, None, Disc(shelf.ca, shelf.agent + b"#", **asks))
    shelf.make("two-cas", None, shelf.disc(generation=5, ca_pem=other.pem + shelf.ca.pem))


def put_untrusted(shelf: Shelf, other: Ca) -> None:
    """The certificate, or what it vouches for, is not right."""
    ca, agent = shelf.ca, shelf.agent
    stranger = ec.generate_private_key(ec.SECP256R1())
    key, certificate = ca.leaf(uris=vm_uris(3))
    shelf.make("other-ca", "DISC_UNTRUSTED", Disc(other, agent))
    shelf.make("other-ca-beside-ours", "DISC_UNTRUSTED", Disc(other, agent, ca_pem=ca.pem + other.pem))
    shelf.make("expired-certificate", "DISC_EXPIRED", shelf.disc(leaf={"not_after": NOW - DAY / 2}))
    shelf.make("certificate-of-tomorrow", "DISC_EXPIRED", shelf.disc(leaf={"not_before": NOW + DAY / 2}))
    shelf.make("expired-manifest", "DISC_EXPIRED", shelf.disc(expires=NOW - DAY))
    shelf.make("server-certificate", "DISC_INVALID", shelf.disc(leaf={"usage": ExtendedKeyUsageOID.SERVER_AUTH}))
    shelf.make("unsigned", "DISC_INVALID", shelf.disc(leaf={"signer": stranger}))
    shelf.make("wrong-key", "DISC_INVALID", shelf.disc(), lambda files: files.update({CLIENT: key + leaf_of(files)}))
    shelf.make(
        "certificate-of-another-disc", "DISC_INVALID", shelf.disc(), lambda f: f.update({CLIENT: key + certificate})
    )
    shelf.make("tampered-certificate", "DISC_INVALID", shelf.disc(), tamper_certificate)
    shelf.make("tampered-manifest", "DISC_INVALID", shelf.disc(), tamper_manifest)
    shelf.make("no-manifest-digest", "DISC_INVALID", shelf.disc(vouches=False))


def put_damaged(shelf: Shelf, other: Ca) -> None:
    """A file is not the one that the manifest names."""
    ca = shelf.ca
    shelf.make("altered-agent", "DISC_INVALID", shelf.disc(), altered(AGENT, 4000))
    shelf.make("altered-installer", "DISC_INVALID", shelf.disc(), altered("installer/linux/install_ngt.py"))
    shelf.make("altered-config", "DISC_INVALID", shelf.disc(), altered(CONFIG, 20))
    shelf.make("altered-ca", "DISC_INVALID", shelf.disc(), lambda f: f.update({CA: ca.pem + other.pem}))
    shelf.make("longer-agent", "DISC_INVALID", shelf.disc(), lambda f: f.update({AGENT: f[AGENT] + b"#"}))
    shelf.make("truncated-agent", "DISC_INVALID", shelf.disc(), cut(AGENT))
    shelf.make("truncated-client", "DISC_INVALID", shelf.disc(), cut(CLIENT))
    shelf.make("truncated-manifest", "DISC_INVALID", shelf.disc(), cut(MANIFEST))
    shelf.make("truncated-ca", "DISC_UNTRUSTED", shelf.disc(), cut(CA))
    shelf.make("empty-client", "DISC_INVALID", shelf.disc(), lambda f: f.update({CLIENT: b""}))
    shelf.make("no-agent", "DISC_INVALID", shelf.disc(), without(AGENT))
    shelf.make("no-config", "DISC_INVALID", shelf.disc(), without(CONFIG))
    shelf.make("no-manifest", "DISC_NOT_FOUND", shelf.disc(), without(MANIFEST))


def put_contradicting(shelf: Shelf) -> None:
    """Signed in order, and of another VM, or at odds with itself."""
    rows = [{"path": p, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()} for p in (CA, CONFIG)]
    shelf.make("other-vm", "DISC_OF_ANOTHER_VM", shelf.disc(vm=OTHER_VM))
    shelf.make("manifest-of-another-vm", "DISC_INVALID", shelf.disc(manifest={"vm_uuid": OTHER_VM}))
    shelf.make("manifest-of-another-generation", "DISC_INVALID", shelf.disc(manifest={"generation": 9}))
    shelf.make("config-of-another-generation", "DISC_INVALID", shelf.disc(config={"generation": 9}))
    shelf.make("config-of-another-service", "DISC_INVALID", shelf.disc(config={"service_name": "evil.example"}))
    shelf.make("upgrade-without-an-end", "DISC_INVALID", shelf.disc(manifest={"upgrade": {"id": VM}}))
    shelf.make("version-climbs", "DISC_INVALID", shelf.disc(version="../../../tmp"))
    shelf.make("version-is-a-link", "DISC_INVALID", shelf.disc(version="current"))
    for number, path in enumerate(PATH_TRICKS):
        row = {"path": path, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
        shelf.make(f"path-trick-{number}", "DISC_INVALID", shelf.disc(manifest={"files": [*rows, row]}))
    many = [*rows, *({"path": f"f{n}", "size": 0, "sha256": rows[0]["sha256"]} for n in range(511))]
    shelf.make("too-many-files", "DISC_INVALID", shelf.disc(manifest={"files": many}))
    shelf.make("two-urns", "DISC_INVALID", shelf.disc(leaf={"uris": [*vm_uris(3), *vm_uris(3, OTHER_VM)]}))


def put_links_and_pipes(shelf: Shelf) -> None:
    """What stands in a file's place would lead elsewhere, or never end."""
    folder, agent = shelf.folder, shelf.agent
    linked = shelf.make("link-for-agent", "DISC_INVALID", shelf.disc(), without(AGENT))
    (folder / "elsewhere").write_bytes(agent)
    (linked / "agent").mkdir(exist_ok=True)
    (linked / AGENT).symlink_to(folder / "elsewhere")
    linked = shelf.make("link-for-folder", "DISC_INVALID", shelf.disc(), without(AGENT))
    (folder / "elsewhere-folder").mkdir()
    (folder / "elsewhere-folder/ngt_agent.pyz").write_bytes(agent)
    (linked / "agent").symlink_to(folder / "elsewhere-folder")
    piped = shelf.make("pipe-for-agent", "DISC_INVALID", shelf.disc(), without(AGENT))
    (piped / "agent").mkdir(exist_ok=True)
    os.mkfifo(piped / AGENT)
    piped = shelf.make("pipe-for-manifest", "DISC_INVALID", shelf.disc(), without(MANIFEST))
    os.mkfifo(piped / MANIFEST)


def make_material(folder: Path, agent: bytes) -> tuple[Ca, Ca]:
    """Everything, and `facts.json` that says what is what. Returns the CA and that of somebody else."""
    ca, other = Ca("CA of the tests"), Ca("CA of somebody else")
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "agent.pyz").write_bytes(agent)
    server = ExtendedKeyUsageOID.SERVER_AUTH
    for name, (signer, options) in {
        "server": (ca, {"dns": [SERVICE_NAME], "usage": server}),
        "server-of-other-ca": (other, {"dns": [SERVICE_NAME], "usage": server}),
        "server-of-other-name": (ca, {"dns": ["guest-tools.example"], "usage": server}),
        "server-expired": (ca, {"dns": [SERVICE_NAME], "usage": server, "not_after": NOW - DAY / 2}),
        "client-as-server": (ca, {"dns": [SERVICE_NAME], "uris": vm_uris(3)}),
        **{f"link-{n}": (ca, {"uris": vm_uris(n), "not_after": NOW + 1000 * DAY}) for n in (3, 4, 5)},
        "link-of-other-vm": (ca, {"uris": vm_uris(9, OTHER_VM)}),
        "link-expired": (ca, {"uris": vm_uris(4), "not_after": NOW - DAY / 2}),
    }.items():
        (folder / f"{name}.pem").write_bytes(b"".join(signer.leaf(**options)))
    discs = folder / "discs"
    discs.mkdir()
    facts = {
        "vm": VM,
        "other_vm": OTHER_VM,
        "ngt": NGT,
        "cluster": CLUSTER,
        "service_name": SERVICE_NAME,
        "ca_sha256": ca.sha256,
        "other_ca_sha256": other.sha256,
        "discs": make_discs(discs, ca, other, agent),
        "config": config_of(4),
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return ca, other
