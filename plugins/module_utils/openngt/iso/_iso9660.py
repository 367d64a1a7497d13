# SPDX-License-Identifier: GPL-3.0-or-later
"""A strict reader of ISO 9660 (ECMA-119) with Joliet and Rock Ridge, for images that nobody vouches for.

It reads folders, never more than a cap of them, follows no link, and answers anything odd with DISC_INVALID. It also
tells where in the image each record stands, which authoring needs to fix dates and modes, and to find the slots.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import OpenNGTError
from .layout import SECTOR

__all__ = ["Descriptor", "Image", "Record", "Tree", "invalid"]

PRIMARY, SUPPLEMENTARY, TERMINATOR = 1, 2, 255
JOLIET = (b"%/@", b"%/C", b"%/E")
MOST_DESCRIPTORS = 16
MOST_RECORDS = 8192
MOST_LEVELS = 16
LARGEST_FOLDER = 4 * 1024 * 1024
MOST_CONTINUATIONS = 8

FLAG_FOLDER, FLAG_MULTI_EXTENT = 0x02, 0x80


def invalid(message: str, **details: object) -> OpenNGTError:
    return OpenNGTError("DISC_INVALID", message, dict(details))


@dataclass(frozen=True)
class Descriptor:
    """A volume descriptor: one view of the files."""

    position: int
    joliet: bool
    label: str
    size: int
    """Bytes of the volume as the descriptor says."""
    root: Record


@dataclass(frozen=True)
class Record:
    """A directory record. `position` is where it stands in the image, `offset` where its content does."""

    position: int
    raw: bytes = field(repr=False)
    identifier: bytes
    offset: int
    size: int
    folder: bool
    multi_extent: bool

    @property
    def special(self) -> bool:
        """Whether it is `.` or `..`."""
        return self.folder and self.identifier in (b"\x00", b"\x01")

    @property
    def system_use(self) -> int:
        """Where in `raw` the system use area begins."""
        return 33 + len(self.identifier) + (1 - len(self.identifier) % 2)


@dataclass(frozen=True)
class Node:
    """A file or folder under its real name."""

    record: Record
    mode: int | None
    """POSIX type and permissions; None in a tree without Rock Ridge."""
    link: bool


@dataclass
class Tree:
    """The files of one view, by path."""

    rock_ridge: bool
    root: Node
    files: dict[str, Node] = field(default_factory=dict)
    folders: dict[str, Node] = field(default_factory=dict)


class Image:
    """An image behind an open descriptor, which stays the caller's to close. DISC_INVALID when it is none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        found = list(self._descriptors())
        views = {item.joliet: item for item in reversed(found)}
        if False not in views:
            raise invalid("the file holds no ISO 9660 volume")
        self.primary = views[False]
        self.joliet = views.get(True)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes, or DISC_INVALID when the image ends before."""
        content = os.pread(self._descriptor, size, offset) if offset + size <= self.size else b""
        if len(content) != size:
            raise invalid(f"the image ends before byte {offset + size}")
        return content

    def chunks(self, record: Record, size: int = 1 << 20) -> Iterator[bytes]:
        """The content of a file in pieces of at most `size` bytes."""
        for start in range(0, record.size, size):
            yield self.read(record.offset + start, min(size, record.size - start))

    def _descriptors(self) -> Iterator[Descriptor]:
        for number in range(16, 16 + MOST_DESCRIPTORS):
            position = number * SECTOR
            raw = self.read(position, SECTOR)
            if raw[1:7] != b"CD001\x01":
                raise invalid("the file holds no ISO 9660 volume")
            if raw[0] == TERMINATOR:
                return
            joliet = raw[0] == SUPPLEMENTARY and raw[88:91] in JOLIET
            if raw[0] == PRIMARY or joliet:
                yield self._descriptor_at(position, raw, joliet)
        raise invalid("the volume has too many descriptors")

    @staticmethod
    def _descriptor_at(position: int, raw: bytes, joliet: bool) -> Descriptor:
        if int.from_bytes(raw[128:130], "little") != SECTOR:
            raise invalid(f"the volume's blocks are not of {SECTOR} bytes")
        label = raw[40:72].decode("utf-16-be" if joliet else "latin-1", "replace").rstrip(" \0")
        size = int.from_bytes(raw[80:84], "little") * SECTOR
        return Descriptor(position, joliet, label, size, _record(raw[156:190], position + 156))

    def records(self, folder: Record) -> Iterator[Record]:
        """Every record of a folder, `.` and `..` first, as they stand in the image."""
        if folder.size > LARGEST_FOLDER:
            raise invalid("a folder of the volume is too large")
        content = self.read(folder.offset, folder.size)
        at = 0
        while at < len(content):
            length = content[at]
            if length == 0:  # records never cross sectors: the rest of this one is padding
                at += SECTOR - at % SECTOR
                continue
            yield _record(content[at : at + length], folder.offset + at)
            at += length

    def system_use(self, record: Record, skip: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position in the image, entry) of a record's SUSP entries, continuation areas included."""
        position, area = record.position + record.system_use + skip, record.raw[record.system_use + skip :]
        for _hop in range(MOST_CONTINUATIONS):
            continuation: tuple[int, int] | None = None
            while len(area) >= 4:
                length = area[2]
                if length < 4 or length > len(area):
                    break
                entry, signature = area[:length], area[:2]
                if signature == b"CE" and length >= 28:
                    fields = [int.from_bytes(entry[at : at + 4], "little") for at in (4, 12, 20)]
                    continuation = (fields[0] * SECTOR + fields[1], min(fields[2], SECTOR))
                elif signature == b"ST":
                    break
                else:
                    yield position, entry
                position, area = position + length, area[length:]
            if continuation is None:
                return
            position, area = continuation[0], self.read(*continuation)
        raise invalid("a system use area of the volume does not end")

    def tree(self, descriptor: Descriptor) -> Tree:
        """All files and folders of a view. Names are those of Rock Ridge or Joliet where the view has them."""
        dot = next((record for record in self.records(descriptor.root) if record.identifier == b"\x00"), None)
        if dot is None:
            raise invalid("the volume's root folder is damaged")
        rock_ridge = not descriptor.joliet and any(entry[:2] == b"SP" for _position, entry in self.system_use(dot))
        tree = Tree(rock_ridge, self._node(dot, rock_ridge)[1])
        seen = {descriptor.root.offset}
        waiting = [("", descriptor.root, 1)]
        count = 0
        while waiting:
            prefix, folder, level = waiting.pop()
            for record in self.records(folder):
                count += 1
                if count > MOST_RECORDS:
                    raise invalid("the volume has too many files")
                if record.special:
                    continue
                name, node = self._node(record, rock_ridge, descriptor.joliet)
                path = prefix + name
                if path in tree.files or path in tree.folders:
                    raise invalid(f"the volume names {path[:200]!a} twice")
                if not record.folder:
                    tree.files[path] = node
                    continue
                tree.folders[path] = node
                if record.offset in seen or level >= MOST_LEVELS:
                    raise invalid("the volume's folders are too deep or hold each other")
                seen.add(record.offset)
                waiting.append((path + "/", record, level + 1))
        return tree

    def _node(self, record: Record, rock_ridge: bool, joliet: bool = False) -> tuple[str, Node]:
        name, mode, link = b"", None, False
        for _position, entry in self.system_use(record) if rock_ridge else ():
            if entry[:2] == b"NM" and len(entry) > 5:
                name += entry[5:]
            elif entry[:2] == b"PX" and len(entry) >= 8:
                mode = int.from_bytes(entry[4:8], "little")
            elif entry[:2] in (b"SL", b"CL", b"PL", b"RE"):
                link = True
        try:
            text = name.decode() if name else record.identifier.decode("utf-16-be" if joliet else "latin-1")
        except UnicodeDecodeError as exc:
            raise invalid("the volume holds a file name that is not valid text") from exc
        if not name:
            text = text.partition(";")[0]
        if not record.special and (text in ("", ".", "..") or "/" in text or "\0" in text):
            raise invalid(f"the volume holds a file named {text[:200]!a}")
        return text, Node(record, mode, link)


def _record(raw: bytes, position: int) -> Record:
    if len(raw) < 34 or raw[0] > len(raw) or 33 + raw[32] > raw[0]:
        raise invalid(f"the directory record at byte {position} is damaged")
    return Record(
        position=position,
        raw=raw[: raw[0]],
        identifier=raw[33 : 33 + raw[32]],
        offset=int.from_bytes(raw[2:6], "little") * SECTOR,
        size=int.from_bytes(raw[10:14], "little"),
        folder=bool(raw[25] & FLAG_FOLDER),
        multi_extent=bool(raw[25] & FLAG_MULTI_EXTENT),
    )
