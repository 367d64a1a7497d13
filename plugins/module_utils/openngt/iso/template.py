# SPDX-License-Identifier: GPL-3.0-or-later
"""The ISO of which every VM's ISO is a clone: the payload, and empty slots for what is the VM's own.

A template is authored once and kept under the digest of its content. It describes itself: the slot of `manifest.json`
holds the description, every other slot its own name, so that no offset is believed that the file does not confirm.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..effects import file_errors
from ..errors import OpenNGTError
from ..failpoints import failpoint
from ._iso9660 import Image, Node, invalid
from ._unfinished import sweep, unfinished
from .layout import CA, CLIENT, CONFIG, LABEL, MANIFEST, SECTOR, SLOTS, IsoKind, check_label
from .manifest import FileEntry, canonical_json, parse_json_object
from .payload import PayloadFile
from .volume import author

__all__ = ["Template", "ensure_template", "open_template", "padded", "prune_templates"]

# Part of the digest: raise the number when the same payload is authored to other bytes than before.
FORMAT = "openngt-template-1"


@dataclass(frozen=True)
class Template:
    path: Path
    digest: str
    kind: IsoKind
    label: str
    files: tuple[FileEntry, ...]
    """The payload, sorted by path."""
    size: int
    slots: Mapping[str, int]
    """Path -> byte offset in the image; the sizes are those of SLOTS."""

    @property
    def description(self) -> bytes:
        """What stands in the manifest's slot, unpadded."""
        return _description(self.kind, self.label, self.files)

    def blank(self, path: str) -> bytes:
        """What stands in a slot of the template, padding included."""
        return padded(path, self.description if path == MANIFEST else _marker(path))


def padded(path: str, content: bytes) -> bytes:
    """The content of a slot, filled up with newlines; ISO_TOO_LARGE when it does not fit."""
    if len(content) > SLOTS[path]:
        raise OpenNGTError(
            "ISO_TOO_LARGE",
            f"{path} needs {len(content)} bytes, its slot has {SLOTS[path]}",
            {"path": path, "size": len(content), "slot": SLOTS[path]},
        )
    return content.ljust(SLOTS[path], b"\n")


def ensure_template(
    folder: Path, payload: Sequence[PayloadFile], *, kind: IsoKind = "tools", label: str = LABEL
) -> Template:
    """The template of this payload in `folder` (created 0700 where it is missing), authored unless it is there.

    Processes that want a template of the same folder at the same time wait for each other, so it is authored once. One
    that is damaged is authored again; what killed builders left is removed. `payload` as `tools_payload` gives it.
    INVALID_INPUT when a file changed since it was measured.
    """
    files = tuple(file.entry for file in payload)
    digest = hashlib.sha256(_description(kind, check_label(label), files)).hexdigest()
    path = folder / f"{digest}.iso"
    with _locked(folder):
        sweep(folder)
        try:
            template = open_template(path)
        except OpenNGTError as exc:
            if exc.code not in ("DISC_NOT_FOUND", "DISC_INVALID"):
                raise
            _author(path, payload, kind, label)
            template = open_template(path)
        with file_errors(str(path)):
            os.utime(path)  # the time of last use, for prune_templates
    return template


def open_template(path: Path) -> Template:
    """Read a template's description, find its slots and check that each is where the volume says, and empty.

    DISC_NOT_FOUND, DISC_INVALID. The payload is not read: `ensure_template` verified it before the file got its name.
    """
    with file_errors(str(path)):
        if not path.exists():
            raise OpenNGTError("DISC_NOT_FOUND", f"there is no template {path}")
        descriptor = os.open(path, os.O_RDONLY)
    try:
        return _read_template(path, Image(descriptor))
    finally:
        os.close(descriptor)


def _author(path: Path, payload: Sequence[PayloadFile], kind: IsoKind, label: str) -> None:
    content: dict[str, bytes | Path] = {file.entry.path: file.content for file in payload}
    files = tuple(file.entry for file in payload)
    content[MANIFEST] = padded(MANIFEST, _description(kind, label, files))
    content.update({slot: padded(slot, _marker(slot)) for slot in (CONFIG, CLIENT, CA)})
    with unfinished(path) as descriptor:
        with os.fdopen(descriptor, "w+b", closefd=False) as stream:
            author(stream, content, label=label)
        failpoint("iso.template.authored")
        image = Image(descriptor)
        nodes = image.tree(image.primary).files
        for entry in files:
            _verify(image, nodes[entry.path], entry)
        failpoint("iso.template.verified")


def _verify(image: Image, node: Node, entry: FileEntry) -> None:
    digest = hashlib.sha256()
    for chunk in image.chunks(node.record):
        digest.update(chunk)
    if (node.record.size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise OpenNGTError(
            "INVALID_INPUT", f"{entry.path} changed while it was put on the ISO; run again", {"path": entry.path}
        )


def _read_template(path: Path, image: Image) -> Template:
    nodes = image.tree(image.primary).files
    if MANIFEST not in nodes or nodes[MANIFEST].record.size != SLOTS[MANIFEST]:
        raise invalid(f"{path} is not a template")
    description = parse_json_object(
        b"".join(image.chunks(nodes[MANIFEST].record)).rstrip(b"\n"), str(path), SLOTS[MANIFEST]
    )
    try:
        files = tuple(FileEntry(**row) for row in description["files"])
        template = Template(
            path=path,
            digest=hashlib.sha256(canonical_json(description)).hexdigest(),
            kind=description["kind"],
            label=description["label"],
            files=files,
            size=image.size,
            slots={slot: nodes[slot].record.offset for slot in SLOTS},
        )
    except (KeyError, TypeError) as exc:
        raise invalid(f"{path} is not a template of this version") from exc
    _check(template, image, nodes)
    return template


def _check(template: Template, image: Image, nodes: Mapping[str, Node]) -> None:
    if template.size != image.primary.size or template.path.stem != template.digest:
        raise invalid(f"{template.path} is cut short, or not the template that its name says")
    present = {path: node.record.size for path, node in nodes.items()}
    if present != {**SLOTS, **{entry.path: entry.size for entry in template.files}}:
        raise invalid(f"{template.path} does not hold the files that it describes")
    for slot, offset in template.slots.items():
        if offset % SECTOR or image.read(offset, SLOTS[slot]) != template.blank(slot):
            raise invalid(f"{template.path} has no empty slot for {slot}")


def _description(kind: IsoKind, label: str, files: Sequence[FileEntry]) -> bytes:
    rows = [{"path": entry.path, "size": entry.size, "sha256": entry.sha256} for entry in files]
    return canonical_json({"format": FORMAT, "kind": kind, "label": label, "slots": SLOTS, "files": rows})


def _marker(slot: str) -> bytes:
    return f"# {FORMAT} slot {slot}".encode()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone. The lock is on the folder itself, so no lock file is left behind."""
    with file_errors(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prune_templates(folder: Path, unused_for: float) -> list[Path]:
    """Remove templates that nobody asked for in the last `unused_for` seconds; returns them.

    A clone under way is not disturbed: it has the file open.
    """
    removed = []
    with _locked(folder), file_errors(str(folder)):
        for path in sorted(folder.glob("*.iso")):
            if time.time() - path.stat().st_mtime > unused_for:
                path.unlink()
                removed.append(path)
    return removed
