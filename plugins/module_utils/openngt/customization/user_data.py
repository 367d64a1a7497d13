# SPDX-License-Identifier: GPL-3.0-or-later
"""User-data for cloud-init: what kind a script is, and several of them in one MIME message.

cloud-init's rules are those of `cloudinit/user_data.py` and `cloudinit/handlers/__init__.py` of 22.4.
"""

from __future__ import annotations

__all__ = ["CONTENT_TYPES", "kind_of"]

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
