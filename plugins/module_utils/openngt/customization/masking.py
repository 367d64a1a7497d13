# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a customization as they may be shown: what may be a secret is masked, a file is its size and digest.

What is secret is known by its key, and in free text by words beside it. In doubt it is masked: a value too much that is
hidden costs a look at the source, one too few is in every log.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MASK", "is_secret_key", "masked", "masked_text", "summary"]

MASK = "********"
SECRET_KEYS = re.compile(
    r"(?i)pass|pwd|secret|token|credential|private|psk|seed|product_?key|(^|[_-])(api|auth|access)?_?key$"
    r"|(activation|registration|validation|auth|api|access)[_-]?(key|cert)|otp|pin$|cookie"
)
NOT_SECRET = frozenset({"type", "name", "expire", "path", "users", "list_type"})
"""Below a key that says secret, as in `chpasswd: {users: [{name: …}]}`."""
FILE_KEYS = frozenset({"content", "content_base64"})
HINTS = re.compile(
    r"(?i)pass|pwd|secret|token|credential|bearer|authorization|private|psk|api.?key|access.?key|\bkey\s*[=:]|cookie"
    r"|\bnet(\.exe)?\s+user\b|(^|\s)-p\S|(^|\s)(-u|--user)[ =]?[^\s:]{1,128}+:|\$[0-9a-z]{1,2}\$"
    r"|:[^\s|]{1,64}+\s{0,8}+\|"
)
# Bounded, as are those above: the text may have been made for a pattern that goes back and forth in it.
USER_INFO = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,15}://)[^/\s]{1,256}@")
QUERY = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,15}://[^\s?#\"']{1,256}+)[?#][^\s\"']*")
PUBLIC_KEY = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/=]+( [\w@. -]*)?")
NO_HINT = "NOPASSWD:"
"""A rule of sudoers says so that it asks for none."""
LIKE_A_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
KEY_SHOWN = re.compile(r"[^:@\s]{1,64}|[\w ./-]{1,64}")
LONGEST_SHOWN = 4096
KEYS_OF_COMMANDS = frozenset({"runcmd", "bootcmd"})


def is_secret_key(name: str) -> bool:
    return SECRET_KEYS.search(name) is not None


def summary(content: bytes) -> str:
    """A change shows, what has changed does not."""
    return f"({len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()})"


def masked(value: Any, key: str = "", secret: bool = False) -> Any:
    """A tree of JSON values, of the same form."""
    secret = (secret and key not in NOT_SECRET) or is_secret_key(key)
    if isinstance(value, Mapping):
        return {_shown_key(name): _of_key(name, item, value, secret) for name, item in value.items()}
    if isinstance(value, list):
        if key in KEYS_OF_COMMANDS:
            return [_command(item) for item in value]
        return [masked(item, key if secret else "", secret) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if secret:
        return MASK
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    """Free text, as a command line: whole, or only its URLs' secrets masked, or masked altogether."""
    if len(text) > LONGEST_SHOWN:
        return f"{MASK} ({len(text)} characters)"
    if PUBLIC_KEY.fullmatch(text.strip()):
        return text
    shown = QUERY.sub(rf"\1?{MASK}", USER_INFO.sub(rf"\1{MASK}@", text))
    if HINTS.search(shown.replace(NO_HINT, "")) is not None or any(
        _random(word) for word in LIKE_A_SECRET.findall(shown)
    ):
        lines = text.count("\n") + 1
        return MASK if lines == 1 else f"{MASK} ({lines} lines)"
    return shown


def _of_key(name: str, item: Any, siblings: Mapping[str, Any], secret: bool) -> Any:
    if name in FILE_KEYS and isinstance(item, str):
        return summary(_file_content(item, str(siblings.get("encoding", ""))))
    return masked(item, str(name), secret)


def _file_content(text: str, encoding: str) -> bytes:
    """What lies in the guest then, where it is in base64 alone."""
    if encoding in ("b64", "base64"):
        try:
            return base64.b64decode(text, validate=False)
        except ValueError:
            pass
    return text.encode("utf-8", "surrogatepass")


def _command(item: Any) -> Any:
    """The words of one command belong together: what one says of a secret, the next one is."""
    if isinstance(item, list) and all(isinstance(word, str) for word in item):
        return item if masked_text(" ".join(item)) == " ".join(item) else [*item[:1], MASK]
    return masked(item)


def _shown_key(name: Any) -> str:
    return str(name) if KEY_SHOWN.fullmatch(str(name)) else MASK


def _random(word: str) -> bool:
    """As a token is, and neither a path nor a long name."""
    classes = (str.islower, str.isupper, str.isdigit)
    return sum(any(test(char) for char in word) for test in classes) == len(classes) and "/" not in word[:1]
