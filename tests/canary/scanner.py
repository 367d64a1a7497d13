# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a secret wherever it may have leaked to, in every form that tools give to text."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = ["FORMS", "Hit", "forms", "scan_bytes", "scan_tree"]

FORMS = ("plain", "base64", "url", "json", "utf-16-le", "utf-16-be")


@dataclass(frozen=True)
class Hit:
    secret: str
    """The name under which the test planted it."""
    form: str
    where: str


def _base64_cores(secret: bytes) -> list[bytes]:
    """For each of the three alignments, the part of the encoding that its neighbours in the text do not change."""
    cores = []
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + secret)
        # The first characters mix in bytes before the secret, the last ones bytes after it.
        start = -(-lead * 8 // 6)
        end = (lead + len(secret)) * 8 // 6
        cores.append(encoded[start:end])
    return cores


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """(form, needle) for each way in which the text may have been written."""
    raw = secret.encode()
    yield "plain", raw
    for encoding in ("utf-16-le", "utf-16-be"):
        yield encoding, secret.encode(encoding)
    for core in _base64_cores(raw) + _base64_cores(secret.encode("utf-16-le")):
        yield "base64", core
        yield "base64", core.replace(b"+", b"-").replace(b"/", b"_")
    yield "url", quote(secret, safe="").encode()
    yield "json", json.dumps(secret)[1:-1].encode()
    # Ansible prints results as JSON inside JSON strings.
    yield "json", json.dumps(json.dumps(secret)[1:-1])[1:-1].encode()


def scan_bytes(content: bytes, secrets: dict[str, str], where: str) -> list[Hit]:
    """Every (secret, form) found in `content`; `secrets` maps names to values."""
    found = {
        Hit(name, form, where)
        for name, secret in secrets.items()
        for form, needle in forms(secret)
        if needle in content
    }
    return sorted(found, key=lambda hit: (hit.secret, hit.form))


def scan_tree(root: Path, secrets: dict[str, str], allowed: frozenset[Path] = frozenset()) -> list[Hit]:
    """Scan names and contents of all regular files below `root`; `allowed` are files made to hold a secret."""
    hits: list[Hit] = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hits += scan_bytes(str(relative).encode(), secrets, f"name of {relative}")
        if path.is_file() and not path.is_symlink() and path not in allowed:
            hits += scan_bytes(path.read_bytes(), secrets, str(relative))
    return hits
