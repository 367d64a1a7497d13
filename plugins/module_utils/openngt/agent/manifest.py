# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`manifest.json` of a tools disc: parsed as hostile input, into something whose paths may be opened."""

import datetime
import re
import unicodedata
from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import strict_json
from .certificate import SHA256, UUID

__all__ = [
    "AGENT",
    "CA",
    "CLIENT",
    "CONFIG",
    "FORMAT",
    "MOST_MANIFEST",
    "SLOTS",
    "VERSION",
    "FileEntry",
    "Manifest",
    "UpgradeWish",
    "parse",
    "parse_time",
    "upgrade_wish",
]

FORMAT = "openngt-manifest-1"
MOST_MANIFEST = 32768
MOST_FILES = 512
MOST_FILE = 64 * 1024 * 1024
MOST_EXTRA = 1 << 40
ROLLBACK_SECONDS = (5, 3600)

AGENT = "agent/ngt_agent.pyz"
CONFIG = "config/ngt_config.json"
CLIENT = "config/client.pem"
CA = "config/ca.pem"
# Files that are padded with newlines on the disc, and the size of their slots.
SLOTS = {"manifest.json": MOST_MANIFEST, CONFIG: 4096, CLIENT: 8192, CA: 8192}

# What no system takes in a name; the backslash is a separator on some.
_UNSUITABLE = re.compile(r'[\x00-\x1f\x7f"*:<>?\\|]')
MOST_LEVELS = 16
# It becomes the name of a folder beside the link `current`: it starts with a digit.
VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,63}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,6})?(?:Z|([+-])(\d\d):([0-5]\d))")

FileEntry = NamedTuple("FileEntry", [("path", str), ("size", int), ("sha256", str)])

UpgradeWish = NamedTuple("UpgradeWish", [("id", str), ("allow_downgrade", bool), ("rollback_seconds", int)])

Manifest = NamedTuple(
    "Manifest",
    [
        ("vm_uuid", str),
        ("ngt_uuid", str),
        ("cluster_uuid", str),
        ("generation", int),
        ("kind", str),
        ("ngt_version", str),
        ("expires", datetime.datetime),
        ("ca_sha256", str),
        ("files", Tuple[FileEntry, ...]),
        ("upgrade", Optional[UpgradeWish]),  # None: the disc asks no running agent to change over
    ],
)


def parse(content: bytes) -> Manifest:
    """A manifest from its unpadded bytes; ValueError names the first field that cannot be right."""
    found = strict_json.load_object(content, MOST_MANIFEST)
    if found.get("format") != FORMAT:
        raise ValueError("format must be {0}".format(FORMAT))
    for field in ("vm_uuid", "ngt_uuid", "cluster_uuid"):
        if not UUID.fullmatch(_text(found, field)):
            raise ValueError("{0} must be a UUID in lower case".format(field))
    if not SHA256.fullmatch(_text(found, "ca_sha256")):
        raise ValueError("ca_sha256 must be 64 lower-case hex digits")
    if found.get("kind") not in ("tools", "config"):
        raise ValueError("kind must be tools or config")
    if not VERSION.fullmatch(_text(found, "ngt_version")):
        raise ValueError("ngt_version is malformed")
    return Manifest(
        found["vm_uuid"],
        found["ngt_uuid"],
        found["cluster_uuid"],
        _number(found, "generation", 1, 10**18),
        found["kind"],
        found["ngt_version"],
        parse_time(_text(found, "expires")),
        found["ca_sha256"],
        _files(found),
        _upgrade(found),
    )


def upgrade_wish(found: Dict[str, Any]) -> UpgradeWish:
    """What an offer and a disc have in common; ValueError names the field."""
    if not UUID.fullmatch(_text(found, "id")):
        raise ValueError("id must be a UUID in lower case")
    if not isinstance(found.get("allow_downgrade"), bool):
        raise ValueError("allow_downgrade must be true or false")
    return UpgradeWish(found["id"], found["allow_downgrade"], _number(found, "rollback_seconds", *ROLLBACK_SECONDS))


def _upgrade(found: Dict[str, Any]) -> Optional[UpgradeWish]:
    wish = found.get("upgrade")
    if wish is None:
        return None
    if not isinstance(wish, dict):
        raise ValueError("upgrade must be an object")
    return upgrade_wish(wish)


def _files(found: Dict[str, Any]) -> Tuple[FileEntry, ...]:
    listed = found.get("files")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_FILES:
        raise ValueError("files must be a list of 1 to {0}".format(MOST_FILES))
    entries = tuple(_entry(item) for item in listed)
    paths = [entry.path for entry in entries]
    # Two names that some reader of the disc sees as one are refused.
    if len({unicodedata.normalize("NFC", path).casefold() for path in paths}) != len(paths):
        raise ValueError("files names a path twice")
    missing = [path for path in (CONFIG, CA) if path not in paths]
    if missing:
        raise ValueError("files does not name {0}".format(", ".join(missing)))
    return entries


def _entry(item: Any) -> FileEntry:
    if not isinstance(item, dict):
        raise ValueError("files must be a list of objects")
    path = _text(item, "path")
    if not _is_inside(path) or path.casefold() in ("manifest.json", CLIENT):
        raise ValueError("files names a path that no tools disc has")
    most = MOST_EXTRA if path.startswith("extras/") else SLOTS.get(path, MOST_FILE)
    if not SHA256.fullmatch(_text(item, "sha256")):
        raise ValueError("files: sha256 must be 64 lower-case hex digits")
    return FileEntry(path, _number(item, "size", 0, most), item["sha256"])


def _is_inside(path: str) -> bool:
    """True for a relative path that stays below its folder and means one file to every system."""
    parts = path.split("/")
    if _UNSUITABLE.search(path) or len(parts) > MOST_LEVELS or len(path.encode("utf-8", "replace")) > 1024:
        return False
    return not any(part in ("", ".", "..") or 0xD800 <= max(map(ord, part)) <= 0xDFFF for part in parts)


def _text(found: Dict[str, Any], field: str) -> str:
    value = found.get(field)
    if not isinstance(value, str):
        raise ValueError("{0} must be text".format(field))
    return value


def _number(found: Dict[str, Any], field: str, least: int, most: int) -> int:
    value = found.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError("{0} must be a number from {1} to {2}".format(field, least, most))
    return value


def parse_time(text: str) -> datetime.datetime:
    """RFC 3339 to aware time; Python 3.6 has no fromisoformat, and strptime takes milliseconds to get ready."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError("expires must be a time as RFC 3339 has it")
    year, month, day, hour, minute, second = (int(number) for number in match.groups()[:6])
    sign, hours, minutes = match.groups()[6:]
    east = datetime.timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = datetime.timezone(-east if sign == "-" else east)
    return datetime.datetime(year, month, day, hour, minute, second, tzinfo=zone)
