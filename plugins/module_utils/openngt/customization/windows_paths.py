# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of files in a Windows guest, judged by Windows' rules ("Naming Files, Paths, and Namespaces")."""

from __future__ import annotations

import re

__all__ = ["path_problem"]

# With their extensions: NUL.txt is the device, too.
DEVICES = re.compile(
    r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(\..*)?"
)
FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\ud800-\udfff]')
MOST = 259
"""MAX_PATH less its end; .NET of PowerShell 3.0 takes no more."""


def path_problem(path: str) -> str | None:
    """What is wrong with an absolute path as `C:\\folder\\file.txt`; None: nothing. It is not repeated."""
    if not re.match(r"[A-Za-z]:[\\/]", path):
        return "does not begin with a drive, as C:\\"
    if len(path) > MOST:
        return f"has more than {MOST} characters"
    for name in re.split(r"[\\/]", path[3:]):
        if name in ("", ".", ".."):
            return "has an empty name, . or .. in it"
        if FORBIDDEN.search(name):
            return "has a character that Windows allows in no name"
        if name[-1] in ". ":
            return "has a name that ends in a dot or a space, which Windows cuts off"
        if DEVICES.fullmatch(name):
            return "has the name of a device in it"
    return None
