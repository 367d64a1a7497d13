# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Shut the guest down or start it anew, as its own administrator would. The host was answered before: afterwards nobody
is there to answer.
"""

import logging
from typing import Dict

from .errors import AgentError
from .files import Runner
from .systemd import systemctl

__all__ = ["COMMANDS", "go_down"]

# The operation -> the verb of systemctl, which stops every service in order.
COMMANDS: Dict[str, str] = {"guest.shutdown": "poweroff", "guest.reboot": "reboot"}

host_log = logging.getLogger("openngt.host")


def go_down(run: Runner, method: str) -> bool:
    """Ask systemd for it; False, with the reason in the journal, when it does not take the order."""
    host_log.info("%s: systemctl %s", method, COMMANDS[method])
    try:
        systemctl(run, COMMANDS[method])
    except AgentError as exc:
        host_log.error("%s: failed: %s: %s", method, exc.code, exc.message)
        return False
    return True
