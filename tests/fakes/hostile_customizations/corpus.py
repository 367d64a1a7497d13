# SPDX-License-Identifier: GPL-3.0-or-later
"""Customizations that nobody should send, each with the code that it is refused by and a near-twin that is taken.

A file is named `CODE.what-is-wrong.bad`, its twin `CODE.what-is-wrong.good`; the folder says what it is. What would be
large, or is no file, is made by the functions below, under the same names.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Case", "cases"]

FOLDER = Path(__file__).parent
SPECS = {"user_data": {"format": "cloud_init"}, "unattend": {"format": "sysprep"}}
HEAD = b"#cloud-config\n"
SCRIPT = b"#!/bin/sh\n"
JINJA = b"## template: jinja\n#cloud-config\n"


class Case(NamedTuple):
    name: str
    code: str
    bad: dict[str, Any]
    """As `spec.parse` takes it."""
    good: dict[str, Any]


def cases() -> Iterator[Case]:
    for folder, spec in SPECS.items():
        for path in sorted((FOLDER / folder).glob("*.bad")):
            twin = path.with_suffix(".good")
            yield _case(f"{folder}/{path.stem}", spec, path.read_bytes(), twin.read_bytes())
    for name, (bad, good) in _large().items():
        yield _case(f"generated/{name}", SPECS["user_data"], bad, good)
    for name, (bad, good) in _large_answers().items():
        yield _case(f"generated/{name}", SPECS["unattend"], bad, good)
    for name, (worse, better) in _specs().items():
        yield Case(f"spec/{name}", name.partition(".")[0], worse, better)


def _case(name: str, spec: dict[str, Any], bad: bytes, good: bytes) -> Case:
    code = name.rpartition("/")[2].partition(".")[0]
    return Case(name, code, {**spec, "scripts": [_script(bad)]}, {**spec, "scripts": [_script(good)]})


def _script(content: bytes) -> dict[str, str]:
    return {"content_base64": base64.b64encode(content).decode()}


def _zipped(content: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    return content


def _zeros(size: int) -> bytes:
    """gzip of `size` zeros, without ever having them."""
    packer = zlib.compressobj(9, wbits=31)
    chunk = bytes(1 << 20)
    return b"".join(packer.compress(chunk) for _ in range(size >> 20)) + packer.flush()


def _nested(depth: int) -> bytes:
    """A message in a message in a message."""
    inner = b"Content-Type: text/x-shellscript\n\n#!/bin/sh\ntrue\n"
    for level in range(depth):
        mark = b"B%d" % level
        inner = b"Content-Type: multipart/mixed; boundary=%s\n\n--%s\n%s\n--%s--\n" % (mark, mark, inner, mark)
    return b"MIME-Version: 1.0\n" + inner


def _texts_for_patterns() -> bytes:
    """Texts in which a careless pattern goes back and forth."""
    words = (b"x", b"a://", b"a:", b"a:|", b"-u x", b"pas", b"http://a?", b"a@")
    return b"bootcmd:\n" + b"".join(b"- '%s'\n" % (word * (4_000 // len(word))) for word in words * 3)


def _large() -> dict[str, tuple[bytes, bytes]]:
    filled = SCRIPT + b"#" * 127_990
    config = HEAD + b"hostname: web1\n"
    lists = HEAD + b"bootcmd:\n- ['echo', a]\n"
    template = JINJA + b"hostname: {{ 'a' }}\n"
    return {
        "TOO_LARGE.one-byte": (filled + b"#", filled),
        "TOO_LARGE.two-megabytes": (SCRIPT + b"#" * (2 << 20), filled),
        "TOO_LARGE.one-scalar": (HEAD + b"hostname: " + b"a" * 200_000, HEAD + b"final_message: " + b"a" * 100_000),
        "TOO_DEEP.brackets": (HEAD + b"bootcmd: " + b"[" * 60_000, lists),
        "TOO_DEEP.closed-brackets": (HEAD + b"bootcmd: " + b"[" * 60_000 + b"]" * 60_000, lists),
        "TOO_DEEP.braces": (HEAD + b"ntp: " + b"{a: " * 30_000, config),
        "TOO_DEEP.dashes": (HEAD + b"bootcmd:\n" + b"- " * 60_000, lists),
        "BAD_YAML.questions": (HEAD + b"? " * 60_000, config),
        "BAD_YAML.colons": (HEAD + b":" * 100_000, config),
        "BAD_YAML.quotes": (HEAD + b'"' * 100_000, config),
        "BAD_YAML.percents": (HEAD + b"%" * 100_000, config),
        "BAD_TAG.marks": (HEAD + b"!" * 100_000, config),
        "TOO_MANY_VALUES.list": (HEAD + b"packages: [" + b"a," * 60_000 + b"]", HEAD + b"packages: [a,b]\n"),
        "TOO_MANY_VALUES.keys": (HEAD + b"".join(b"k%d: a\n" % n for n in range(11_000)), config),
        "BAD_KEY.texts-for-patterns": (
            HEAD + b"zebra: 1\n" + _texts_for_patterns(),
            HEAD + _texts_for_patterns(),
        ),
        "BAD_KEY.thousands": (HEAD + b"".join(b"zebra%d: a\n" % n for n in range(9_000)), config),
        "BAD_VALUE.thousands": (
            HEAD + b"runcmd: [" + b"1," * 19_000 + b"]",
            HEAD + b"runcmd: [" + b"a," * 19_000 + b"]",
        ),
        "UNPACKS_TOO_LARGE.bomb": (_zeros(100 << 20), _zipped(config)),
        "UNPACKS_TOO_LARGE.bomb-in-a-bomb": (_zipped(_zeros(100 << 20)), _zipped(config, 2)),
        "UNPACKS_TOO_LARGE.just-above": (_zeros(2 << 20), _zipped(SCRIPT + b"#" * 50_000)),
        "TOO_DEEP.gzip-in-gzip": (_zipped(config, 12), _zipped(config, 3)),
        "TOO_DEEP.messages": (_nested(30), _nested(3)),
        "BAD_MIME.thousands-of-messages": (_nested(1500), _nested(2)),
        "BAD_MIME.header-of-100-kilobytes": (
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=" + b'"' * 100_000 + b"\n\n",
            _nested(1),
        ),
        "BAD_JINJA.parentheses": (JINJA + b"hostname: {{ " + b"(" * 60_000, template),
        "BAD_JINJA.braces": (JINJA + b"{{" * 50_000, template),
        "BAD_JINJA.blocks": (JINJA + b"{% if a %}" * 10_000, template),
        "UNKNOWN_KIND.blanks": (b" " * 100_000 + b"x", config),
        "BAD_INCLUDE.thousands": (b"#include\n" + b"ldap://a\n" * 12_000, b"#include\n" + b"http://a/\n" * 12_000),
    }


def _large_answers() -> dict[str, tuple[bytes, bytes]]:
    [good] = (FOLDER / "unattend").glob("TOO_DEEP.elements.good")
    answer = good.read_bytes()
    remark = b"<!--" + b"a" * (32_000 - len(answer) - 7) + b"-->"
    return {
        "TOO_LARGE.answer-file": (answer + remark + b" ", answer + remark),
        "TOO_LARGE.answer-file-of-a-megabyte": (answer + b" " * (1 << 20), answer),
        "BAD_XML.thousands-of-attributes": (
            b"<a " + b"".join(b'b%d="" ' % n for n in range(2_000)) + b"><",
            answer,
        ),
    }


def _file(*paths: str) -> dict[str, Any]:
    return {"files": [{"path": path, "content": ""} for path in paths]}


def _network(**device: Any) -> dict[str, Any]:
    return {"network": {"version": 2, "ethernets": {"lan": device}}}


def _specs() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    good = _file("/etc/motd")
    addresses = _network(addresses=["192.0.2.21/24"])
    climbing = {
        "climbs": "/srv/../etc/shadow",
        "climbs-at-once": "/../etc/shadow",
        "climbs-at-the-end": "/etc/..",
        "relative": "etc/motd",
        "home": "~/motd",
        "windows": "C:\\motd",
        "double-slash": "/etc//motd",
        "dot": "/etc/./motd",
        "folder": "/etc/",
        "root": "/",
        "nul": "/etc/motd\0.txt",
        "line-end": "/etc/motd\n/etc/shadow",
        "escape": "/etc/\x1b[2J",
        "proc": "/proc/sysrq-trigger",
        "sys": "/sys/power/state",
        "dev": "/dev/sda",
        "long-name": "/etc/" + "a" * 256,
        "long": "/a" * 2_500,
    }
    return {
        **{f"BAD_FILE_PATH.{what}": (_file(path), good) for what, path in climbing.items()},
        "DUPLICATE_PATH.twice": (_file("/a", "/a"), _file("/a", "/b")),
        "DUPLICATE_PATH.folder-of-the-other": (_file("/a", "/a/b"), _file("/a/b", "/a/c")),
        "BAD_ADDRESS.without-prefix": (_network(addresses=["192.0.2.21"]), addresses),
        "BAD_ADDRESS.octal": (_network(addresses=["192.0.2.021/24"]), addresses),
        "BAD_ADDRESS.mac-in-capitals": (
            _network(match={"macaddress": "52:54:00:AB:CD:EF"}),
            _network(match={"macaddress": "52:54:00:ab:cd:ef"}),
        ),
        "BAD_VALUE.network-of-version-1": ({"network": {"version": 1, "config": []}}, addresses),
        "TOO_LARGE.meta-data": ({"meta_data": {"a": "x" * 33_000}}, {"meta_data": {"a": "x" * 30_000}}),
        "BAD_KEY.instance-id-in-meta-data": ({"meta_data": {"instance-id": "i-2"}}, {"instance_id": "i-2"}),
        "INVALID_INPUT.surrogate": (
            {"scripts": [{"content": "#!/bin/sh\n\ud800"}]},
            {"scripts": [{"content": "#!/bin/sh\n# \U0001f600"}]},
        ),
        "INVALID_INPUT.base64": (
            {"scripts": [{"content_base64": "IyEvYmluL3NoCg"}]},
            {"scripts": [{"content_base64": "IyEvYmluL3NoCg=="}]},
        ),
        "INVALID_INPUT.nested-options": ({"options": _deep(5_00)}, {"options": {}}),
        "INVALID_INPUT.instance-id-that-climbs": ({"instance_id": "../../etc"}, {"instance_id": "i-2"}),
        "INVALID_INPUT.name-that-climbs": (
            {"scripts": [{"content": "#!/bin/sh\n", "name": "../a"}]},
            {"scripts": [{"content": "#!/bin/sh\n", "name": "a"}]},
        ),
    }


def _deep(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value
