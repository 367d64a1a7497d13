# SPDX-License-Identifier: GPL-3.0-or-later
"""What a package of the agent holds, the same for every package manager. Pure.

One file of the agent, one that says which disc may bring the first identity, and the documents. All else in a guest
is the agent's own doing, called by the package's scripts (docs/decisions/0015-…).
"""

import datetime
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass

from openngt.agent_bundle import build_zipapp
from openngt.errors import OpenNGTError
from openngt.version import __version__

__all__ = ["AGENT", "CONFFILE", "HOMEPAGE", "MAINTAINER", "NAME", "SUMMARY", "Contents", "contents", "script"]

NAME = "openngt-agent"
AGENT = "usr/lib/openngt/ngt_agent.pyz"
CONFFILE = "etc/openngt/agent_first_disc"
DOCUMENTS = f"usr/share/doc/{NAME}"
HOMEPAGE = "https://github.com/openngt/guest_tools"
MAINTAINER = "openngt contributors <openngt@users.noreply.github.com>"
SUMMARY = "guest agent of openngt, without an identity"

ANY = "any"
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
RELEASE = re.compile(r"([0-9.]+)(.*)")
LARGEST_EPOCH = 2**32 - 1

# Where a distribution's own python3 is; the second is that of RHEL 8 and 9 without the package python3.
SCRIPT = """\
#!/bin/sh
set -e
agent() {{
    python=/usr/bin/python3
    [ -x "$python" ] || python=/usr/libexec/platform-python
    "$python" -I /{agent} package --operation "$1"
}}
{body}"""

FIRST_DISC = """\
# From which tools disc this guest's agent takes its first identity, as long as it has none. One line:
#   {any}                                 any disc that was made for this VM (trust on first use)
#   <fingerprint of a CA, 64 hex digits>  only a disc of that CA (compare with: openngt ca show)
# Without this file it takes none by itself; the installer on the disc does.
{word}
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: openngt
Source: {homepage}

Files: *
Copyright: 2026 openngt contributors
License: GPL-3.0-or-later
 This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later
 version.
 .
 It comes without any warranty. The text of the license: https://www.gnu.org/licenses/gpl-3.0.txt, on Debian systems
 also /usr/share/common-licenses/GPL-3.
"""

CHANGELOG = """\
{name} ({version}) unstable; urgency=medium

  * Agent {agent_version} of openngt. What is new in it: {homepage}

 -- {maintainer}  {date:%a, %d %b %Y %H:%M:%S +0000}
"""


@dataclass(frozen=True)
class Contents:
    version: str
    """Of the package, without its revision, as package managers sort it."""
    revision: int
    epoch: int
    """Seconds since 1970: the date of every file, and of the package."""
    files: Mapping[str, bytes]
    """By path, without the first slash; all 0644."""

    @property
    def date(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.epoch, datetime.UTC)


def contents(ca_sha256: str | None, revision: int, epoch: int) -> Contents:
    """`ca_sha256`: the CA that the first disc has to be of, None for any. INVALID_INPUT names what cannot be."""
    word = ANY if ca_sha256 is None else ca_sha256.strip().lower()
    if word != ANY and not FINGERPRINT.fullmatch(word):
        message = "ca_sha256: give the CA's fingerprint, 64 hex digits (openngt ca show)"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "ca_sha256"})
    if revision < 1:
        raise OpenNGTError("INVALID_INPUT", "revision: a number from 1 up", {"field": "revision"})
    if not 0 <= epoch <= LARGEST_EPOCH:
        raise OpenNGTError("INVALID_INPUT", "SOURCE_DATE_EPOCH: seconds since 1970", {"field": "SOURCE_DATE_EPOCH"})
    version = sortable(__version__)
    date = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    changelog = CHANGELOG.format(
        name=NAME,
        version=f"{version}-{revision}",
        agent_version=__version__,
        homepage=HOMEPAGE,
        maintainer=MAINTAINER,
        date=date,
    )
    files = {
        AGENT: build_zipapp(),
        CONFFILE: FIRST_DISC.format(any=ANY, word=word).encode(),
        f"{DOCUMENTS}/copyright": COPYRIGHT.format(homepage=HOMEPAGE).encode(),
        f"{DOCUMENTS}/changelog.Debian.gz": gzip.compress(changelog.encode(), mtime=0),
    }
    return Contents(version, revision, epoch, files)


def sortable(version: str) -> str:
    """A pre-release before its release, which dpkg and rpm write with a tilde: `1.0rc1` is `1.0~rc1`."""
    match = RELEASE.fullmatch(version)
    assert match is not None, "versions begin with a number"
    release, rest = match.groups()
    return f"{release}~{rest.lstrip('-.')}" if rest else release


def script(body: str) -> str:
    """A script of a package; in it `agent OPERATION` calls the packaged agent."""
    return SCRIPT.format(agent=AGENT, body=body)
