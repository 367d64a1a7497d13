# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Linux with systemd, for the agent that serves."""

import logging
from typing import Any, Callable, Dict, Optional, Sequence

from . import status
from .adopt import DiscWatcher
from .disc import MountedDiscs
from .errors import AgentError
from .files import Runner
from .going_down import go_down
from .identity import Identity
from .key_request import KeyRequest, make_request
from .machine import vm_uuid
from .paths import UPGRADE_UNIT, Paths
from .serial_port import open_first
from .system import Port, System
from .systemd import systemctl
from .upgrade_record import Stage, check_space, forget_stage, stage

__all__ = ["Linux"]

log = logging.getLogger("openngt.agent")


class Linux(System):
    def __init__(self, paths: Paths, run: Runner, run_briefly: Runner) -> None:
        self.paths = paths
        self._run = run
        self._run_briefly = run_briefly
        self._mounted = MountedDiscs(paths)

    def vm_uuid(self) -> Optional[str]:
        return vm_uuid(self.paths)

    def record(self, serial_port: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        return status.gather(self.paths, serial_port)

    def disc_mounted(self) -> bool:
        return self._mounted()

    def open_port(self, devices: Sequence[str]) -> Port:
        return open_first(devices, self.paths)

    def make_request(self) -> KeyRequest:
        return make_request(self._run_briefly)

    def go_down(self, method: str) -> bool:
        return go_down(self._run, method)

    def check_upgrade(self, size: int) -> None:
        check_space(self.paths.config, size)

    def start_upgrade(self, staged: Stage) -> None:
        """To ngt_agent_upgrade.service."""
        stage(self.paths, staged)
        try:
            systemctl(self._run, "start", "--no-block", UPGRADE_UNIT)
        except AgentError:
            forget_stage(self.paths)
            raise
        log.info("agent %s is staged; %s changes over to it", staged.version, UPGRADE_UNIT)

    def watch_discs(self, taken: Callable[[Identity], None]) -> None:
        DiscWatcher(self.paths, self._run, taken).start()
