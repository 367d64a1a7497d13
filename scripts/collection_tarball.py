# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection's tarball made anew, so that the same files make the same bytes wherever and whenever it was built.

`ansible-galaxy collection build` takes the order of the files from the disk, and times from the clock.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

__all__ = ["settle"]

PAPERS = ("MANIFEST.json", "FILES.json")


def settle(tarball: Path, seconds: int) -> None:
    """In place: files by name, each with the time `seconds`, and what lists them with its checksum."""
    with tarfile.open(tarball) as archive:
        members = {member.name: member for member in archive.getmembers()}
        content = {name: content_of(archive, member) for name, member in members.items()}
    files = json.loads(content["FILES.json"])
    files["files"].sort(key=lambda entry: entry["name"])
    content["FILES.json"] = json.dumps(files, indent=1).encode()
    manifest = json.loads(content["MANIFEST.json"])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(content["FILES.json"]).hexdigest()
    content["MANIFEST.json"] = json.dumps(manifest, indent=1).encode()
    with (
        tarball.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in [*PAPERS, *sorted(members.keys() - PAPERS)]:
            member = members[name]
            member.mtime, member.size = seconds, len(content[name])
            # What the archive that it is from has said of it, its time in fractions too.
            member.pax_headers = {}
            tar.addfile(member, io.BytesIO(content[name]))


def content_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Nothing of a folder or a link."""
    content = archive.extractfile(member) if member.isfile() else None
    return content.read() if content else b""
