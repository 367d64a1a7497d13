# SPDX-License-Identifier: GPL-3.0-or-later
"""The codes of findings in a customization, each with its remedy.

As with errors: a code may be added, never renamed. A finding's own remedy is more exact where there is one to give.
"""

from __future__ import annotations

from typing import Literal

from .model import Finding
from .unattend_codes import UNATTEND_CODES

__all__ = ["CODES", "finding"]

CODES = {
    "BAD_ADDRESS": "write an address with its prefix, as 192.0.2.21/24; gateways and name servers without one",
    "BAD_CHARACTER": "take the named character out, or write it as UTF-8",
    "BAD_FILE_PATH": "give an absolute path of a file in the guest, without . and .., outside of /proc, /sys and /dev",
    "BAD_GZIP": "compress it again with gzip, or leave it uncompressed",
    "BAD_INCLUDE": "give one URL a line: http://, https:// or file:///, without blanks",
    "BAD_JINJA": "correct the template at the named line",
    "BAD_KEY": "take the key out, or look it up in cloud-init's reference",
    "BAD_MIME": "let the parts be put together: give each as an item of scripts",
    "BAD_OPTION": "correct the named option",
    "BAD_SHEBANG": "name the interpreter by its absolute path in the first line, as #!/bin/sh",
    "BAD_TAG": "take the tag (!…) out: plain YAML has text, numbers, true and false, lists and mappings",
    "BAD_VALUE": "give what cloud-init's schema wants at this key",
    "BAD_YAML": "correct the text at the named line; it cannot be read as YAML",
    "BYTE_ORDER_MARK": "save the file as UTF-8 without a byte order mark",
    "CRLF": "save the file with line ends of Unix (LF): the guest would look for an interpreter whose name ends in CR",
    "DEPRECATED_KEY": "use what the message names instead",
    "DUPLICATE_KEY": "keep one of the two: the second silently replaces the first",
    "DUPLICATE_PATH": "keep one of the files: the second would replace the first",
    "EMPTY": "give it content, or leave it out",
    "MISSING_KEY": "add the key",
    "MISSPELT_KEY": "write the key as the message says; cloud-init passes over one that it does not know",
    "NOT_A_MAPPING": "write it as keys with values, as hostname: web1",
    "NOT_UTF8": "save the file as UTF-8",
    "NUL_BYTE": "take the NUL bytes out; a file with them is no text",
    "SECRET_IN_CLEAR": "give a hash (openssl passwd -6), or have the password changed at the first login",
    "TAB": "indent with blanks; YAML allows no tabs there",
    "TOO_DEEP": "nest less deeply",
    "TOO_LARGE": "shorten it, or have the guest fetch the rest (#include, or a script)",
    "TOO_MANY_ALIASES": "write repeated values out instead of using aliases (*name)",
    "TOO_MANY_VALUES": "shorten it; no customization of a guest needs so many values",
    "UNKNOWN_KIND": "begin with the line that says what it is: #!/bin/sh, #cloud-config, #include …",
    "UNKNOWN_MIME_TYPE": "give the part a type that cloud-init handles, as text/cloud-config or text/x-shellscript",
    "UNPACKS_TOO_LARGE": "leave it uncompressed; what it unpacks to is out of all proportion",
    **UNATTEND_CODES,
}


def finding(
    code: str,
    part: str,
    message: str,
    *,
    remedy: str | None = None,
    line: int | None = None,
    key: str = "",
    severity: Literal["error", "warning"] = "error",
) -> Finding:
    """With the code's own remedy where none is given."""
    return Finding(severity, code, part, message, CODES[code] if remedy is None else remedy, line, key)
