# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""From which disc an agent that a package brought takes its first identity.

`/etc/openngt/agent_first_disc` is the package's and its administrator's word on it. Where there is no such file, an
agent without an identity takes none by itself.
"""

import os
from typing import Optional

from .certificate import SHA256
from .errors import AgentError
from .files import read_text
from .paths import Paths

__all__ = ["check_not_awaited", "is_awaited", "pinned_ca"]

ANY = "any"


def is_awaited(paths: Paths) -> bool:
    """Has this guest had no identity yet, and is its first one to come with a disc?

    One that is there and damaged is no first one.
    """
    return os.path.lexists(paths.first_disc) and not os.path.lexists(paths.identity)


def pinned_ca(paths: Paths) -> Optional[str]:
    """Fingerprint of the one CA that may vouch for the first disc, None for any. IDENTITY_INVALID for other words."""
    lines = (line.strip().lower() for line in (read_text(paths.first_disc) or "").splitlines())
    words = [line for line in lines if line and not line.startswith("#")]
    if len(words) == 1 and words[0] == ANY:
        return None
    if len(words) == 1 and SHA256.fullmatch(words[0]):
        return words[0]
    text = "{0} must have one line: the fingerprint of a CA (64 hex digits), or {1}".format(paths.first_disc, ANY)
    raise AgentError("IDENTITY_INVALID", text)


def check_not_awaited(paths: Paths) -> None:
    """IDENTITY_INVALID, which says what is waited for, as long as there was no identity yet."""
    if is_awaited(paths):
        text = "there is no identity yet: it comes with the disc that the service mounts (openngt vm enable, vm mount)"
        raise AgentError("IDENTITY_INVALID", text)
