# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's one error type and the codes that it uses.

The codes and remedies are those of the library's errors.py, repeated because the agent imports nothing of its siblings;
a test compares both.
"""

from typing import Any, Dict, Optional

__all__ = ["REMEDIES", "AgentError"]

REMEDIES: Dict[str, str] = {
    "AGENT_FAILED": "read the agent's journal in the guest: journalctl -u ngt_guest_agent.service",
    "AGENT_NOT_INSTALLED": "run the playbook openngt.guest_tools.install, or installer/linux/install_ngt.py by hand",
    "COMMAND_FAILED": "read the output in details; the command can be repeated by hand",
    "COMMAND_NOT_FOUND": "install the package that provides the command",
    "COMMAND_TIMED_OUT": "look whether the machine is overloaded, then run again",
    "CONFIG_INVALID": "correct the named setting",
    "DISC_EXPIRED": "mount again: a tools ISO is good for bootstrap_hours only",
    "DISC_INVALID": "mount again; the disc is damaged, altered or not from this service",
    "DISC_NOT_FOUND": "attach the VM's tools ISO (label NUTANIX_TOOLS) to a CD-ROM drive",
    "DISC_OF_ANOTHER_VM": "attach the ISO that was made for this VM's UUID",
    "DISC_OLDER": "mount again: this disc's generation has been consumed or overtaken",
    "DISC_UNTRUSTED": "check the CA fingerprint that you gave against: openngt ca show",
    "DOWNGRADE_REFUSED": "ask for it: allow_downgrade: true, or openngt upgrade run --allow-downgrade",
    "ENDPOINT_UNREACHABLE": "check endpoint and that the service runs: openngt serve",
    "FILE_UNUSABLE": "correct the named path: its folder must exist and it must be a regular file",
    "IDENTITY_INVALID": "install again from this VM's tools ISO: the stored identity cannot be used",
    "INVALID_INPUT": "correct the named field",
    "LINK_LOST": "the agent reconnects by itself; when it does not, check the network between guest and service",
    "LINK_NOT_ACTIVE": "run the playbook openngt.guest_tools.diagnose: it names the cause; details has both sides",
    "LINK_REFUSED": "the service does not accept this certificate (openngt vm show says why); mount again",
    "METHOD_BLOCKED": "take the method out of /usr/local/openngt/config/blocked_methods in the guest to allow it",
    "NO_SPACE": "free space on the named file system",
    "OTHER_TOOLS_PRESENT": "uninstall the other vendor's guest tools first",
    "PERMISSION_DENIED": "run as root, or with become: true",
    "PREREQUISITES_NOT_MET": "follow the remedy of each finding in details.findings",
    "PROTOCOL_ERROR": "update agent and service to versions that belong together; the agent's journal has the frame",
    "SERIAL_PORT_ABSENT": "stop the VM and start it again (a restart in the guest is not enough): the port shows then",
    "SERIAL_PORT_BUSY": "end the program that has the port; a getty: systemctl mask --now serial-getty@ttyS1.service",
    "SERIAL_PORT_FAILED": "look at the VM's serial port on the hypervisor; the network carries the link meanwhile",
    "SERIAL_PORT_SILENT": "look whether the service runs and reaches the VM's port (openngt vm show)",
    "TLS_NOT_TRUSTED": "give the service's CA file (option ca_file); verification cannot be switched off",
    "UNSUPPORTED_DISTRIBUTION": "see the support table; allow_unsupported_distribution: true tries it all the same",
    "UPGRADE_INVALID": "repeat the upgrade; when it happens again, compare the service's package and the guest's clock",
    "UPGRADE_ROLLED_BACK": "the earlier agent serves; the message says what the new one did, the guest's journal more",
    "UPGRADE_UNDER_WAY": "wait until the upgrade before this one has ended (ngtcli status in the guest)",
}


class AgentError(Exception):
    """A failure that a user can act on. `code` is a key of REMEDIES; `details` holds JSON values and never a secret."""

    def __init__(self, code: str, message: str, details: Optional[Dict[str, Any]] = None) -> None:
        super(AgentError, self).__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        self.remedy = REMEDIES[code]

    def to_dict(self) -> Dict[str, Any]:
        """The form in which it ends a command with `--output json`."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy, "details": self.details}
