# SPDX-License-Identifier: GPL-3.0-or-later
"""How many files and sockets the process may have open: one for each connected agent, and one for each serial port."""

import resource

import structlog

__all__ = ["allow_all"]

log = structlog.get_logger(__name__)


def allow_all() -> None:
    """Take what the system allows: the soft limit of a terminal is 1,024, for the sake of programs that use select(2).

    Where that is forbidden (a unit's system call filter) the limit that was given stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as exc:
        log.warning("descriptors_limited", limit=soft, reason=str(exc))
