# SPDX-License-Identifier: GPL-3.0-or-later
"""User-data for cloud-init: what kind a script is, and several of them in one MIME message.

cloud-init's rules are those of `cloudinit/user_data.py` and `cloudinit/handlers/__init__.py` of 22.4.
"""

from __future__ import annotations

import email
import email.encoders
import email.policy
import hashlib
import re
import zlib
from collections.abc import Sequence
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from typing import NamedTuple

from .options import invalid

__all__ = ["CONTENT_TYPES", "Part", "kind_of", "user_data"]

FIRST_WORDS = {
    "#cloud-config-archive": "cloud_config_archive",
    "#cloud-config-jsonp": "cloud_config_jsonp",
    "## template: jinja": "jinja",
    "#cloud-boothook": "boothook",
    "#include-once": "include_once",
    "#cloud-config": "cloud_config",
    "#part-handler": "part_handler",
    "#include": "include",
    "#!": "script",
}
"""Longest first, as one is the beginning of another."""

CONTENT_TYPES = {
    "script": "text/x-shellscript",
    "include": "text/x-include-url",
    "include_once": "text/x-include-once-url",
    "cloud_config": "text/cloud-config",
    "cloud_config_archive": "text/cloud-config-archive",
    "cloud_config_jsonp": "text/cloud-config-jsonp",
    "boothook": "text/cloud-boothook",
    "part_handler": "text/part-handler",
    "jinja": "text/jinja2",
    "gzip": "application/gzip",
}
"""Kind -> its type in a MIME message."""

GZIP = b"\x1f\x8b"
MIME_SEARCHED = 4096


def kind_of(content: bytes) -> str:
    """How cloud-init takes the content: a key of CONTENT_TYPES, `mime`, or `unknown` for what it leaves aside.

    Letter case and white space before the first word do not count. `mime` is whatever has the word `MIME-Version:` in
    its first 4096 bytes, a script that happens to quote it included: cloud-init looks for that first.
    """
    if content.startswith(GZIP):
        return "gzip"
    if b"mime-version:" in content[:MIME_SEARCHED].lower():
        return "mime"
    return kind_of_part(content)


def kind_of_part(content: bytes) -> str:
    """As `kind_of`, of text in a MIME message, where only the first word counts."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "unknown"
    start = text.lstrip()[:32].lower()
    return next((kind for word, kind in FIRST_WORDS.items() if start.startswith(word)), "unknown")


class Part(NamedTuple):
    content: bytes
    name: str
    field: str
    """What an error calls it, as `scripts[0]`."""
    merge: str = ""
    """How a cloud-config joins those before it: cloud-init's Merge-Type. Its default replaces whole keys."""


def user_data(parts: Sequence[Part]) -> bytes:
    """One part as it is, several as a MIME message whose bytes follow from them alone; nothing for none.

    Parts are named `001-name`, as cloud-init runs scripts in the order of their names. What is compressed stays so. A
    message among several parts gives its parts in its place. INVALID_INPUT for a message or gzip that cannot be read.
    """
    if not parts:
        return b""
    alone = parts[0].content
    if len(parts) == 1 and not _only_quotes_a_header(alone):
        return alone
    digest = hashlib.sha256(b"\0".join(part.content for part in parts)).hexdigest()
    message = MIMEMultipart(boundary=f"openngt-{digest[:32]}")
    for number, part in enumerate(parts, 1):
        message.attach(_attachment(part, number))
    return message.as_bytes(policy=POLICY)


# Lines are neither folded nor altered: what cloud-init hands on is what was given.
POLICY = email.policy.compat32.clone(linesep="\n", mangle_from_=False, max_line_length=None)
LARGEST_MESSAGE = 4 << 20


def _only_quotes_a_header(content: bytes) -> bool:
    """Whether cloud-init would take a script for a MIME message; as a part of one it is what it is."""
    return kind_of(content) == "mime" and kind_of_part(content) != "unknown"


def _attachment(part: Part, number: int) -> Message:
    kind = kind_of(part.content)
    if kind == "mime":
        kind = kind_of_part(part.content)
        if kind == "unknown":
            return _parsed(part.content, part.field)
    elif kind == "gzip" and kind_of(_decompressed(part, MIME_SEARCHED)) == "mime":
        content = _decompressed(part, LARGEST_MESSAGE)
        if len(content) == LARGEST_MESSAGE:
            raise invalid(part.field, f"holds a MIME message of {LARGEST_MESSAGE} bytes or more")
        return _parsed(content, part.field)
    main, _slash, sub = CONTENT_TYPES.get(kind, "text/plain").partition("/")
    attachment = MIMEBase(main, sub)
    del attachment["MIME-Version"]  # belongs to the whole message
    # cloud-init reads non-ASCII wrongly out of 8bit, and the generator of the standard library makes LF of CR.
    if main == "text" and part.content.isascii() and not re.search(rb"[\r\0]", part.content):
        attachment.set_param("charset", "us-ascii")
        attachment["Content-Transfer-Encoding"] = "7bit"
        attachment.set_payload(part.content.decode("ascii"))
    else:
        attachment.set_payload(part.content)
        email.encoders.encode_base64(attachment)
    attachment.add_header("Content-Disposition", "attachment", filename=_file_name(part, number, kind))
    if part.merge:
        attachment["Merge-Type"] = part.merge
    return attachment


def _file_name(part: Part, number: int, kind: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", part.name.rpartition("/")[2])[:64] or kind
    return f"{number:03d}-{name}"


def _parsed(content: bytes, field: str) -> Message:
    try:
        message = email.message_from_string(content.decode())
    except UnicodeDecodeError as exc:
        raise invalid(field, "is a MIME message that is not UTF-8, which cloud-init does not read") from exc
    if message.defects:
        raise invalid(field, f"is a MIME message that is damaged: {type(message.defects[0]).__name__}")
    return message


def _decompressed(part: Part, most: int) -> bytes:
    """The first `most` bytes of what is compressed, however much that is."""
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = reader.decompress(part.content, most)
    except zlib.error as exc:
        raise invalid(part.field, "cannot be read as gzip") from exc
    if len(content) < most and not reader.eof:
        raise invalid(part.field, "cannot be read as gzip: it ends too early")
    return content
