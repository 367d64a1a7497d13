# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Logins on the port that is the service's: a getty there writes a banner, echoes and eats what the service says.

What is masked is written down first, so that uninstalling takes back that and nothing else.
"""

import os
import re
from typing import Any, Dict, List

from .files import read_text, replace_file
from .guest import Guest
from .paths import Paths
from .serial_port import console_devices
from .systemd import is_masked, systemctl

__all__ = ["mask", "masked_by_us", "open_gettys", "unmask"]

UNIT = re.compile(r"serial-getty@tty[A-Z]+\d+\.service")


def open_gettys(guest: Guest, config: Dict[str, Any]) -> List[str]:
    """Units that may offer a login on a port of the configuration. The kernel's console keeps its own, for people."""
    consoles = console_devices(guest.paths)
    terminals = [
        os.path.basename(device)
        for device in config.get("serial_ports", [])
        if device not in consoles and re.fullmatch(r"/dev/tty[A-Z]+\d+", device)
    ]
    units = ["serial-getty@{0}.service".format(terminal) for terminal in terminals]
    return [unit for unit in units if not is_masked(guest.run, unit)]


def mask(guest: Guest, units: List[str]) -> None:
    """End them, and let nothing start them again; systemd has to be told to read its units."""
    ours = list(dict.fromkeys(masked_by_us(guest.paths) + units))
    replace_file(guest.paths.masked_units, "".join(unit + "\n" for unit in ours).encode("ascii"))
    for unit in units:
        systemctl(guest.run, "mask", "--no-reload", "--now", unit)


def unmask(guest: Guest) -> None:
    """As it was; a login that ran comes back with the next start of the guest. As for `mask`."""
    for unit in masked_by_us(guest.paths):
        systemctl(guest.run, "unmask", "--no-reload", unit)
    os.unlink(guest.paths.masked_units)


def masked_by_us(paths: Paths) -> List[str]:
    """The units that an installation has masked."""
    return [line for line in (read_text(paths.masked_units) or "").splitlines() if UNIT.fullmatch(line)]
