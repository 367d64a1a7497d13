# SPDX-License-Identifier: GPL-3.0-or-later
"""How else a VM gets its key and certificate from a CA of one's own: the peers of the issuing benchmarks.

Each makes the certificate that ARCHITECTURE.md section 2 describes, and none makes it durable.
"""

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench._rows import Row, row
from openngt.effects import now
from openngt.pki.authority import create_authority

__all__ = ["Issuer", "Speed", "peers", "rate_rows"]

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / "build/collections"
"""Where `make collections` puts community.crypto."""
OPENSSL_CERTIFICATES = 20
ANSIBLE_VMS = 10
VM, NGT = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
SAN = [f"URI:urn:openngt:vm:{VM}", "URI:urn:openngt:generation:1"]


@dataclass(frozen=True)
class Speed:
    per_second: float
    cpu: float
    """Seconds of CPU for one certificate, all processes."""


@dataclass(frozen=True)
class Issuer:
    """A peer by its name; `speed` is None where it is not installed, as the name then says."""

    name: str
    speed: Speed | None


@functools.cache
def peers() -> list[Issuer]:
    """Both peers, measured one after the other, once in a run."""
    result = []
    for name, missing, issue, count in (
        ("openssl req, then openssl x509, for each", _no_openssl(), _with_openssl, OPENSSL_CERTIFICATES),
        (f"community.crypto, one playbook for {ANSIBLE_VMS} VMs", _no_collection(), _with_ansible, ANSIBLE_VMS),
    ):
        with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name_of_folder:
            work = Path(name_of_folder)
            create_authority(work / "ca", common_name="Benchmark CA", now=now())
            result.append(Issuer(f"{name}: {missing}", None) if missing else Issuer(name, _speed(issue, work, count)))
    return result


def rate_rows(name: str, value: float, least: int) -> list[Row]:
    """Our certificates a second beside those of each peer."""
    return [
        row(
            name,
            value,
            "1/s",
            goal=f"at least {least:,}/s",
            met=value >= least,
            peer=peer.name,
            peer_value=None if peer.speed is None else peer.speed.per_second,
        )
        for peer in peers()
    ]


def _speed(issue: Callable[[Path, int], None], work: Path, count: int) -> Speed:
    begin, cpu = time.perf_counter(), _cpu_of_children()
    issue(work, count)
    seconds = time.perf_counter() - begin
    return Speed(count / seconds, (_cpu_of_children() - cpu) / count)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _no_openssl() -> str:
    return "" if shutil.which("openssl") else "openssl is not installed"


def _no_collection() -> str:
    found = (COLLECTIONS / "ansible_collections/community/crypto").is_dir()
    return "" if found else f"not in {COLLECTIONS.relative_to(ROOT)}, make bench installs it"


def _with_openssl(work: Path, count: int) -> None:
    """By two commands, as a script does it: key and request, then the signature."""
    (work / "extensions").write_text(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\nextendedKeyUsage=critical,clientAuth\n" + f"subjectAltName={','.join(SAN)}\n"
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    authority = ["-CA", str(work / "ca/ca.pem"), "-CAkey", str(work / "ca/ca.key")]
    for number in range(count):
        key, request, leaf = (f"{number}.{kind}" for kind in ("key", "csr", "pem"))
        ask = ["openssl", "req", "-new", *curve, "-subj", f"/CN={NGT}", "-keyout", key, "-out", request]
        sign = ["openssl", "x509", "-req", "-in", request, *authority, "-days", "1000", "-extfile", "extensions"]
        for command in (ask, [*sign, "-out", leaf]):
            subprocess.run(command, cwd=work, capture_output=True, check=True)


def _with_ansible(work: Path, count: int) -> None:
    """By the modules for key, request and certificate, for a host each, as many at once as there are cores."""
    path = f"{work}/{{{{ inventory_hostname }}}}"
    key, request = {"privatekey_path": f"{path}.key"}, {"csr_path": f"{path}.csr"}
    asked = {
        **key,
        "path": f"{path}.csr",
        "common_name": NGT,
        "subject_alt_name": SAN,
        "key_usage": ["digitalSignature"],
        "key_usage_critical": True,
        "extended_key_usage": ["clientAuth"],
        "extended_key_usage_critical": True,
        "basic_constraints": ["CA:FALSE"],
        "basic_constraints_critical": True,
    }
    signed = {
        **request,
        "path": f"{path}.pem",
        "provider": "ownca",
        "ownca_path": str(work / "ca/ca.pem"),
        "ownca_privatekey_path": str(work / "ca/ca.key"),
        "ownca_not_after": "+1000d",
    }
    tasks = [
        {"community.crypto.openssl_privatekey": {"path": f"{path}.key", "type": "ECC", "curve": "secp256r1"}},
        {"community.crypto.openssl_csr": asked},
        {"community.crypto.x509_certificate": signed},
    ]
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    (work / "play.yml").write_text(json.dumps([play]))
    hosts = [f"vm{number} ansible_python_interpreter={sys.executable}" for number in range(count)]
    (work / "inventory").write_text("\n".join(hosts) + "\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory", "-f", str(os.cpu_count()), "play.yml"],
        cwd=work,
        env={**own, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(work / "home")},
        capture_output=True,
        check=True,
    )
    made = len(list(work.glob("vm*.pem")))
    if made != count:
        raise RuntimeError(f"community.crypto made {made} of {count} certificates")
