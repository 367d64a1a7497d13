# SPDX-License-Identifier: GPL-3.0-or-later
"""A script for cloud-init before it is written, by its kind; what it holds is looked at in turn.

Nothing is fetched and nothing is run: an include is judged by the form of its URLs, a template by its grammar.
"""

from __future__ import annotations

import email
import email.policy
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from ._jinja2 import problem_of
from .cloud_config_validation import validate_cloud_config
from .findings import finding
from .model import Finding
from .safe_yaml import load
from .schemas import Schemas
from .texts import read_text
from .user_data import CONTENT_TYPES, kind_of, kind_of_part

__all__ = ["MOST_USER_DATA", "validate_user_data"]

MOST_USER_DATA = 128_000
"""Bytes, as the original's API limits it."""
MOST_UNPACKED = 1 << 20
MOST_RATIO = 100
"""Text becomes 3 to 10 times smaller; a bomb a thousand times."""
FREE_OF_RATIO = 64 << 10
MOST_DEPTH = 8
"""Of what stands in each other: gzip, MIME, archives."""
MOST_PARTS = 100
MOST_FINDINGS = 100
MOST_TEMPLATE = 256 << 10
SCHEMES = ("http", "https", "file", "ftp")
BLANKS = re.compile(r"[\s\x00-\x1f\x7f]")
INTERPRETER = re.compile(r"#!\s*/[^\s]")
HANDLED = frozenset(
    {
        *CONTENT_TYPES.values(),
        "text/plain",
        "text/x-not-multipart",
        "text/x-shellscript-per-boot",
        "text/x-shellscript-per-instance",
        "text/x-shellscript-per-once",
        "text/cloud-config-jsonp",
        "application/x-gzip",
        "application/gzip-compressed",
        "application/gzipped",
        "application/x-compress",
        "application/x-compressed",
        "application/x-gunzip",
        "application/x-gzip-compressed",
    }
)
BY_FIRST_LINE = ("text/plain", "text/x-not-multipart", "text/x-shellscript")
"""Of these cloud-init looks at the first word instead."""
KINDS = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}


def validate_user_data(content: bytes, part: str, schemas: Schemas) -> list[Finding]:
    """Of one script. What stands inside of it is named `scripts[0] part 2`. LIBRARY_MISSING."""
    if len(content) > MOST_USER_DATA:
        what = f"has {len(content)} bytes; {MOST_USER_DATA} is the most for user-data"
        return [finding("TOO_LARGE", part, what)]
    found: list[Finding] = []
    for item in _Look(schemas).content(content, part, MOST_DEPTH):
        found.append(item)
        if len(found) == MOST_FINDINGS:
            break
    return found


class _Look:
    """One look at a script, with the account of how much it has unpacked and how many parts it has met."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._unpacked = 0
        self._parts = 0
        self._by_kind: Mapping[str, Callable[[bytes, str, int], Iterator[Finding]]] = {
            "boothook": self._text_alone,
            "cloud_config": self._cloud_config,
            "cloud_config_archive": self._archive,
            "cloud_config_jsonp": self._jsonp,
            "gzip": self._gzip,
            "include": self._include,
            "include_once": self._include,
            "jinja": self._jinja,
            "mime": self._mime,
            "part_handler": self._part_handler,
            "script": self._script,
        }

    def content(self, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        yield from self._of_kind(kind_of(content), content, part, depth)

    def _of_kind(self, kind: str, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        if depth == 0:
            yield finding("TOO_DEEP", part, f"holds more than {MOST_DEPTH} things in each other")
        elif not content.strip():
            yield finding("EMPTY", part, "is empty")
        elif kind in self._by_kind:
            yield from self._by_kind[kind](content, part, depth)
        else:
            text = read_text(content, part)
            yield text if isinstance(text, Finding) else _of_no_kind(text, part)

    def _cloud_config(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        yield from validate_cloud_config(content, part, self._schemas)

    def _text_alone(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text

    def _script(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text
            return
        before = len(text) - len(text.lstrip())
        first = text.lstrip().split("\n", 1)[0]
        line = text.count("\n", 0, before) + 1
        if before:
            yield finding("BAD_SHEBANG", part, "has something before #!, so the kernel does not see it", line=line)
        elif first.endswith("\r"):
            yield finding("CRLF", part, "ends its first line as on Windows (CR LF)", line=line)
        elif INTERPRETER.match(first) is None:
            yield finding("BAD_SHEBANG", part, "names no interpreter by an absolute path", line=line)

    def _part_handler(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text
            return
        for name in ("list_types", "handle_part"):
            if f"def {name}(" not in text:
                yield finding("MISSING_KEY", part, f"has no function {name}", remedy=f"define {name}", line=1)

    def _include(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text
            return
        count = 0
        for number, line in enumerate(text.splitlines(), 1):
            url = re.sub(r"(?i)^#include(-once)?", "", line).strip()
            if not url or url.startswith("#"):
                continue
            count += 1
            problem = _problem_of_url(url)
            if problem is not None:
                yield finding("BAD_INCLUDE", part, problem, line=number)
        if count == 0:
            yield finding("BAD_INCLUDE", part, "names no URL", line=1)

    def _jinja(self, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text
            return
        if len(text) > MOST_TEMPLATE:
            yield finding("TOO_LARGE", part, f"has more than {MOST_TEMPLATE} characters, too many for a template")
            return
        problem = problem_of(text)
        if problem is not None:
            yield finding("BAD_JINJA", part, f"is no template: {problem.what}", line=problem.line)
            return
        rest = text.lstrip().partition("\n")[2]
        kind = kind_of_part(rest.encode())
        if kind in ("unknown", "jinja"):
            yield _of_no_kind(rest, part, line=2)
        elif kind not in ("cloud_config", "cloud_config_archive") and "{" not in rest:
            yield from self._of_kind(kind, rest.encode(), part, depth - 1)

    def _gzip(self, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        unpacker = zlib.decompressobj(wbits=31)
        most = min(MOST_UNPACKED - self._unpacked, max(FREE_OF_RATIO, MOST_RATIO * len(content)))
        try:
            unpacked = unpacker.decompress(content, most + 1)
        except zlib.error:
            yield finding("BAD_GZIP", part, "begins as gzip does and cannot be unpacked")
            return
        self._unpacked += len(unpacked)
        if len(unpacked) > most:
            yield finding("UNPACKS_TOO_LARGE", part, f"unpacks to more than {most} bytes")
        elif not unpacker.eof:
            yield finding("BAD_GZIP", part, "is cut short")
        elif unpacker.unused_data:
            yield finding("BAD_GZIP", part, "has something behind its end")
        else:
            yield from self.content(unpacked, f"{part} unpacked", depth - 1)

    def _jsonp(self, content: bytes, part: str, _depth: int) -> Iterator[Finding]:
        document = load(content, part)
        yield from document.findings
        if document.root is not None and not isinstance(document.value, list):
            yield finding("BAD_VALUE", part, "is no list of changes (JSON patch)", line=document.line(()))

    def _archive(self, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        document = load(content, part)
        yield from document.findings
        if document.root is None:
            return
        if not isinstance(document.value, list):
            yield finding("BAD_VALUE", part, "is no list, as an archive is", line=document.line(()))
            return
        for number, item in enumerate(document.value):
            where = f"{part} part {number + 1}"
            line = document.line((number,))
            entry = {"content": item} if isinstance(item, str) else item
            if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
                yield finding("BAD_VALUE", part, "is an item without content", line=line, key=str(number))
                continue
            kind = entry.get("type") or ""
            yield from self._typed(str(kind), entry["content"].encode(), where, depth)

    def _mime(self, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        text = read_text(content, part)
        if isinstance(text, Finding):
            yield text
            return
        head = kind_of_part(content)
        if head != "unknown":
            what = "quotes MIME-Version: near its beginning, so cloud-init takes it for a message"
            yield finding("BAD_MIME", part, what, remedy="move these words behind the first 4096 bytes", line=1)
            return
        if text.count("\n--") > MOST_PARTS * 2 + 2:
            yield finding("BAD_MIME", part, f"has more than {MOST_PARTS} parts")
            return
        try:
            message = email.message_from_string(text, policy=email.policy.compat32)
        except (RecursionError, ValueError, LookupError, TypeError):
            yield finding("BAD_MIME", part, "is a message that cannot be read")
            return
        yield from self._message(message, part, depth)

    def _message(self, message: Message, part: str, depth: int) -> Iterator[Finding]:
        if depth == 0:
            yield finding("TOO_DEEP", part, f"holds more than {MOST_DEPTH} things in each other")
            return
        defects = sorted({type(defect).__name__ for defect in message.defects})
        if defects:
            yield finding("BAD_MIME", part, f"is a broken message: {', '.join(defects)}")
            return
        if not message.is_multipart():
            yield from self._leaf(message, part, depth)
            return
        inner: Any = message.get_payload()
        for number, item in enumerate(inner, 1):
            self._parts += 1
            if self._parts > MOST_PARTS:
                yield finding("BAD_MIME", part, f"has more than {MOST_PARTS} parts")
                return
            yield from self._message(item, f"{part} part {number}", depth - 1)

    def _leaf(self, message: Message, part: str, depth: int) -> Iterator[Finding]:
        name = message.get_filename()
        if name is not None and _leaves_its_folder(name):
            yield finding(
                "BAD_FILE_PATH", part, "has a file name that is a path", remedy="give a name without a folder"
            )
            return
        try:
            payload: Any = message.get_payload(decode=True)
        except (ValueError, LookupError, TypeError, RecursionError):
            payload = None
        if not isinstance(payload, bytes) or message.defects:
            yield finding("BAD_MIME", part, "has content that does not fit its Content-Transfer-Encoding")
            return
        yield from self._typed(message.get_content_type(), payload, part, depth)

    def _typed(self, content_type: str, content: bytes, part: str, depth: int) -> Iterator[Finding]:
        """As the content's type says, where cloud-init goes by it; as the first line says elsewhere."""
        if content_type and content_type not in HANDLED:
            yield finding("UNKNOWN_MIME_TYPE", part, "has a type that cloud-init does not handle", severity="warning")
            return
        if content_type in BY_FIRST_LINE or not content_type:
            yield from self._of_kind(
                kind_of_part(content) if content[:2] != b"\x1f\x8b" else "gzip", content, part, depth - 1
            )
            return
        kind = KINDS.get(content_type)
        if kind is None:
            kind = "gzip" if content_type.startswith("application/") else "script"
        yield from self._of_kind(kind, content, part, depth - 1)


def _of_no_kind(text: str, part: str, line: int = 1) -> Finding:
    first = text.lstrip("\ufeff").lstrip().split("\n", 1)[0].strip().lower()
    before = text[: len(text) - len(text.lstrip())]
    at = line + before.count("\n")
    for word in ("#cloud-config", "#include", "#!"):
        near = first.replace(" ", "").replace("_", "-")
        if near.startswith(word) or near.startswith(word[1:] + ":"):
            remedy = f"begin the first line with {word}, exactly so"
            return finding("UNKNOWN_KIND", part, "has a first line that is nearly right", remedy=remedy, line=at)
    return finding("UNKNOWN_KIND", part, "has a first line that cloud-init does not know", line=at)


def _problem_of_url(url: str) -> str | None:
    if BLANKS.search(url) is not None:
        return "has a URL with a blank or a control character"
    if len(url) > 2048:
        return "has a URL of more than 2048 characters"
    try:
        split = urlsplit(url)
        port_is_right = split.port is None or split.port > 0
    except ValueError:
        return "has a URL that cannot be read"
    if split.scheme.lower() not in SCHEMES:
        return f"has a URL that begins with none of {', '.join(f'{name}://' for name in SCHEMES)}"
    if not port_is_right or (split.scheme.lower() != "file" and not split.hostname):
        return "has a URL without a host, or with a port that is none"
    if split.scheme.lower() == "file" and not split.path.startswith("/"):
        return "has a file URL without an absolute path"
    return None


def _leaves_its_folder(name: object) -> bool:
    text = str(name)
    return "/" in text or "\\" in text or "\0" in text or text in ("", ".", "..")
