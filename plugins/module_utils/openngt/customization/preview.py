# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on a customization's disc, as a text that may be shown and compared: by `--check --diff`, in a log."""

from __future__ import annotations

import email
import email.policy
import json
import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any
from xml.etree.ElementTree import Element

from ._defusedxml import Refused, read
from ._yaml import dump
from .masking import MASK, is_secret_key, masked, masked_text, summary
from .model import Media, MediaFile
from .safe_yaml import load
from .user_data import CONTENT_TYPES, kind_of, kind_of_part

__all__ = ["preview"]

MOST_UNPACKED = 1 << 20
MOST_DEPTH = 8
INDENT = "  "


def preview(media: Media) -> str:
    """The files in their order, each below its name.

    Passwords, keys, tokens and whatever may be one are masked, in URLs and commands, too; scripts and files for the
    guest are their size and digest. What we add ourselves (vendor-data) is only named. LIBRARY_MISSING.
    """
    return f"label: {media.label}\n" + "".join(_section(file) for file in media.files)


def _section(file: MediaFile) -> str:
    name = file.path.rsplit("/", 1)[-1].lower()
    show = _BY_NAME.get(name, summary)
    return f"== {file.path}\n{_ended(show(file.content))}"


def _user_data(content: bytes, depth: int = MOST_DEPTH) -> str:
    kind = kind_of(content)
    if depth > 0 and kind == "gzip":
        unpacked = zlib.decompressobj(wbits=31)
        try:
            inner = unpacked.decompress(content, MOST_UNPACKED)
        except zlib.error:
            return summary(content)
        return f"gzip:\n{_indented(_user_data(inner, depth - 1))}" if unpacked.eof else summary(content)
    if depth > 0 and kind == "mime":
        return _message(email.message_from_bytes(content, policy=email.policy.compat32), depth)
    return _of_kind(kind, content)


def _of_kind(kind: str, content: bytes) -> str:
    if kind == "cloud_config":
        return "#cloud-config\n" + _yaml(content)
    if kind in ("include", "include_once"):
        return "\n".join(map(masked_text, content.decode("utf-8", "replace").splitlines()))
    return f"{kind} {summary(content)}"


def _message(message: Message, depth: int) -> str:
    if message.is_multipart():
        inner: Any = message.get_payload()
        return "".join(_ended(_message(item, depth - 1)) for item in inner) if depth > 0 else MASK
    payload: Any = message.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    kind = _KINDS.get(message.get_content_type()) or kind_of_part(content)
    name = masked_text(str(message.get_filename() or "part"))
    shown = _user_data(content, depth - 1) if kind == "gzip" and depth > 0 else _of_kind(kind, content)
    return f"-- {name}\n{_indented(shown)}"


def _yaml(content: bytes) -> str:
    document = load(content, "")
    if not isinstance(document.value, (dict, list)) or document.findings:
        return summary(content)
    return dump(masked(document.value))


def _json(content: bytes) -> str:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return summary(content)
    return dump(masked(value)) if isinstance(value, (dict, list)) else summary(content)


def _answers(content: bytes) -> str:
    """An answer file of Windows: elements as lines, those of one setting below each other."""
    try:
        tree = read(content.decode("utf-8-sig"))
    except (Refused, UnicodeDecodeError):
        return summary(content)
    return "\n".join(_element(tree.root, 0, False))


def _element(element: Element, depth: int, secret: bool) -> list[str]:
    name = element.tag.rsplit("}", 1)[-1]
    secret = secret or is_secret_key(name)
    text = (element.text or "").strip()
    shown = (MASK if secret else masked_text(text)) if text else ""
    about = [element.get(key) for key in ("pass", "name") if element.get(key)]
    head = f"{INDENT * depth}{' '.join([name, *map(masked_text, map(str, about))])}:"
    lines = [f"{head} {shown}".rstrip()]
    for child in element:
        lines += _element(child, depth + 1, secret)
    return lines


def _ours(_content: bytes) -> str:
    return "(written by the service: it reports how the customization has ended)"


def _indented(text: str) -> str:
    return "".join(f"{INDENT}{line}\n" for line in text.splitlines())


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


_KINDS = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
_BY_NAME: Mapping[str, Callable[[bytes], str]] = {
    "user-data": _user_data,
    "user_data": _user_data,
    "meta-data": _yaml,
    "network-config": _yaml,
    "meta_data.json": _json,
    "network_data.json": _json,
    "unattend.xml": _answers,
    "autounattend.xml": _answers,
    "vendor-data": _ours,
    "vendor_data.json": _ours,
}
