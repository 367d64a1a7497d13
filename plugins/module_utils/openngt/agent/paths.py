# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Where everything is in a guest, below a root that a test can choose."""

import os

__all__ = ["MANIFEST", "OTHER_VENDOR_UNIT", "UNIT", "UPGRADE_UNIT", "Paths"]

UNIT = "ngt_guest_agent.service"
UPGRADE_UNIT = "ngt_agent_upgrade.service"
OTHER_VENDOR_UNIT = "nutanix-guest-agent.service"
MANIFEST = "manifest.json"


class Paths:
    """The agent's files and the system files that it reads, below `root` ("/" in a guest)."""

    def __init__(self, root: str = "/", home: str = "usr/local/openngt", run: str = "run/openngt") -> None:
        self.root = root
        self.home = self.at(home)
        self.agent = os.path.join(self.home, "agent")
        self.current = os.path.join(self.agent, "current")
        self.proven = os.path.join(self.agent, "proven")
        self.trial = os.path.join(self.agent, ".trial")
        self.unfinished = os.path.join(self.agent, ".unfinished")
        self.config = os.path.join(self.home, "config")
        self.identity = os.path.join(self.config, "identity.pem")
        self.ngt_config = os.path.join(self.config, "ngt_config.json")
        self.blocked_methods = os.path.join(self.config, "blocked_methods")
        self.staged_upgrade = os.path.join(self.config, "upgrade.staged")
        self.upgrade = os.path.join(self.config, "upgrade.json")
        self.masked_units = os.path.join(self.home, "masked_units")
        self.package = self.at("usr/lib/openngt")  # of the distribution's package manager, where it brought the agent
        self.first_disc = self.at("etc/openngt/agent_first_disc")
        self.command = self.at("usr/local/bin/ngtcli")
        self.unit = self.at("etc/systemd/system", UNIT)
        self.upgrade_unit = self.at("etc/systemd/system", UPGRADE_UNIT)
        self.unit_folders = [
            self.at(folder)
            for folder in ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
        ]
        self.enabled = self.at("etc/systemd/system/multi-user.target.wants", UNIT)
        self.other_vendor = self.at("usr/local/nutanix")
        self.run = self.at(run)
        self.status = os.path.join(self.run, "status.json")
        self.disc = os.path.join(self.run, "disc")

    def at(self, *parts: str) -> str:
        """A path of the guest, below the root."""
        return os.path.join(self.root, *parts)

    def version_folder(self, version: str) -> str:
        return os.path.join(self.agent, version)

    def zipapp(self, version: str) -> str:
        return os.path.join(self.agent, version, "ngt_agent.pyz")
