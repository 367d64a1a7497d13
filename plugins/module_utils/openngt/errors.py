# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""The one error type, and the catalogue of its codes.

A code is a promise to playbooks: it may be added, never renamed. The text of the message is for people and may change.
"""

from typing import Any, Dict, Optional

__all__ = ["REMEDIES", "OpenNGTError"]

# code -> what to do about it. A message says what happened; the remedy stands here once.
REMEDIES = {
    "ACPI_IGNORED": "shut it down through its agent (guest_shutdown), or pull the plug (off, or fallback: off)",
    "AGENT_FAILED": "read the agent's journal in the guest: journalctl -u ngt_guest_agent.service",
    "AGENT_NOT_INSTALLED": "run the playbook openngt.guest_tools.install, or installer/linux/install_ngt.py by hand",
    "AGENT_TIMED_OUT": "the outcome in the guest is not known: look at it (ngtcli status), then repeat",
    "AGENT_TOO_OLD": "update the agent (playbook openngt.guest_tools.install); a refresh can also go via: auto or iso",
    "API_ERROR": "read the service's log; repeat the call with the same Idempotency-Key",
    "AUDIT_BROKEN": "compare with an earlier export; somebody has written to the database past the service",
    "AUTHENTICATION_FAILED": "give a valid token: option token, OPENNGT_TOKEN, or openngt --token-file",
    "BACKUP_DAMAGED": "use another backup: openngt backup inspect names what is wrong with one",
    "CA_EXISTS": "use the existing CA, or give another folder; a CA is never overwritten",
    "CA_EXPIRED": "issue from a new CA in another folder; for a service's: openngt ca rollover recover on its host",
    "CA_NOT_FOUND": "create one first: module openngt.guest_tools.ca, or openngt ca create",
    "CA_PASSPHRASE_WRONG": "give the passphrase that the CA key was encrypted with",
    "CA_ROLLOVER_BLOCKED": "follow the remedy of each VM in details.vms, then repeat; force goes on without them",
    "CERTIFICATE_EXPIRED": "issue a new certificate and mount a new ISO",
    "CERTIFICATE_INVALID": "give a PEM file that holds one certificate and its key",
    "CLOCK_WENT_BACK": "set this host's clock right (timedatectl); a certificate is never dated before an earlier one",
    "COMMAND_FAILED": "read the output in details; the command can be repeated by hand",
    "COMMAND_NOT_FOUND": "install the package that provides the command",
    "COMMAND_TIMED_OUT": "look whether the machine is overloaded, then run again",
    "CONFIG_INVALID": "correct the named setting",
    "CREDENTIALS_EXPOSED": "make the file yours and 0600, or give the list on standard input or in a vaulted variable",
    "CUSTOMIZATION_CONFLICT": "give another instance_id to have the guest do it again, or leave what it was given",
    "CUSTOMIZATION_FAILED": "correct what the message names, then customize again with another instance_id",
    "CUSTOMIZATION_INVALID": "follow the remedy of each finding in details.findings; nothing was written",
    "CUSTOMIZATION_TIMED_OUT": "look at the guest's console: cloud-init may be missing, or wait for a network",
    "DISC_EXPIRED": "mount again: a tools ISO is good for bootstrap_hours only",
    "DISC_INVALID": "mount again; the disc is damaged, altered or not from this service",
    "DISC_NOT_FOUND": "attach the VM's tools ISO (label NUTANIX_TOOLS) to a CD-ROM drive",
    "DISC_OF_ANOTHER_VM": "attach the ISO that was made for this VM's UUID",
    "DISC_OLDER": "mount again: this disc's generation has been consumed or overtaken",
    "DISC_UNTRUSTED": "check the CA fingerprint that you gave against: openngt ca show",
    "DISK_UNSUPPORTED": "do it with the hypervisor's own tools, or describe what details.reason names (docs: lab)",
    "DOMAIN_USER_UNSUPPORTED": "use Kerberos (ansible_winrm_transport: kerberos), or a local administrator: .\\name",
    "DOWNGRADE_REFUSED": "ask for it: allow_downgrade: true, or openngt upgrade run --allow-downgrade",
    "DRIVE_BUSY": "look at details.drives; another tools ISO or an operation holds the drive",
    "DRIVE_LOCKED": "unmount the disc in the guest, then eject again, or eject with force",
    "ENDPOINT_UNREACHABLE": "check endpoint and that the service runs: openngt serve",
    "FILE_UNUSABLE": "correct the named path: its folder must exist and it must be a regular file",
    "FORBIDDEN": "use a token whose role allows this verb",
    "GUEST_CERTIFICATE_UNTRUSTED": "pin the thumbprint that winrm_prep printed, or give the CA file; it is verified",
    "GUEST_CONNECTION_LOST": "look whether the guest has restarted or lost its network, then run again",
    "GUEST_LOGIN_FAILED": "correct user, password or key of this guest in the inventory or the list of credentials",
    "GUEST_LOGIN_UNSUPPORTED": "change what is named; playbook openngt.guest_tools.install takes every connection",
    "GUEST_NOT_BACK": "look at the guest's console; it may still be starting, or its agent may not start with it",
    "GUEST_REFUSED": "start sshd or the WinRM listener, check the port; sshd's MaxStartups refuses too",
    "GUEST_STILL_RUNS": "look at the guest's console for what holds its shutdown up, or allow fallback: acpi or off",
    "GUEST_TIMED_OUT": "look at the guest's load and console, or give it longer, then run again",
    "GUEST_UNREACHABLE": "check address, port and credentials of the guest",
    "HOST_KEY_CHANGED": "compare it with the guest's console; if it is right: ssh-keygen -R HOST, add the new one",
    "HOST_KEY_UNKNOWN": "add it to known_hosts (ssh-keyscan, compared with the console), or ask for trust on first use",
    "HYPERVISOR_FAILED": "read details; the hypervisor refused or did not answer",
    "IDEMPOTENCY_MISMATCH": "use a new Idempotency-Key for a different request",
    "IDENTITY_INVALID": "install again from this VM's tools ISO: the stored identity cannot be used",
    "INSTALL_INTERRUPTED": "run again: what was done is found and not done twice",
    "INSTALL_UNDER_WAY": "wait until the other one has ended (one of a killed run goes on for minutes), then run again",
    "INTERNAL": "this is a defect: report it with the service's log around the request id",
    "INVALID_INPUT": "correct the named field",
    "ISO_TOO_LARGE": "shorten the named content so that it fits its slot, or leave extras out",
    "ISSUE_LOG_DAMAGED": "restore issued.jsonl from a backup, or take the named line out after keeping a copy",
    "KERBEROS_CLOCK_SKEW": "set all clocks right to five minutes: timedatectl on this host, w32tm /resync in Windows",
    "KERBEROS_HOST_UNKNOWN": "call the guest by its name in the domain, not by address (ansible_host, host)",
    "KERBEROS_REALM_UNREACHABLE": "name the realm, in capitals, and its KDC in /etc/krb5.conf here; open port 88",
    "KERBEROS_TICKET_MISSING": "get a ticket on this host (kinit user@REALM; klist shows it), or give the password",
    "LIBRARY_MISSING": "install the named Python library for the interpreter that runs the module",
    "LINK_LOST": "the agent reconnects by itself; when it does not, check the network between guest and service",
    "LINK_NOT_ACTIVE": "run the playbook openngt.guest_tools.diagnose: it names the cause; details has both sides",
    "LINK_REFUSED": "the service does not accept this certificate (openngt vm show says why); mount again",
    "METHOD_BLOCKED": "take the method out of /usr/local/openngt/config/blocked_methods in the guest to allow it",
    "NOT_ENROLLED": "enrol it first: module openngt.guest_tools.vm, or openngt vm enable",
    "NOT_FOUND": "look for the right name or id with the call that lists them",
    "NO_EMPTY_DRIVE": "empty one of the drives in details.drives or add a CD-ROM drive to the VM",
    "NO_SPACE": "free space on the named file system",
    "NO_SUCH_CARD": "name the interfaces by addresses that the VM has (details.cards), or give the VM that card",
    "OTHER_TOOLS_PRESENT": "uninstall the other vendor's guest tools first",
    "PERMISSION_DENIED": "run as root, or with become: true",
    "POWER_UNSUPPORTED": "do it with the hypervisor's own tools, or set up what details.reason names (docs: power)",
    "PREREQUISITES_NOT_MET": "follow the remedy of each finding in details.findings",
    "PROTOCOL_ERROR": "update agent and service to versions that belong together; the agent's journal has the frame",
    "RATE_LIMITED": "wait a moment and repeat",
    "SERIAL_PORT_ABSENT": "stop the VM and start it again (a restart in the guest is not enough): the port shows then",
    "SERIAL_PORT_BUSY": "end the program that has the port; a getty: systemctl mask --now serial-getty@ttyS1.service",
    "SERIAL_PORT_FAILED": "look at the VM's serial port on the hypervisor; the network carries the link meanwhile",
    "SERIAL_PORT_SILENT": "look whether the service runs and reaches the VM's port (openngt vm show)",
    "SERVICE_CONFLICT": "another process owns the state folder or the port; stop it first",
    "SHELL_MISSING": "give the user a login shell (/bin/sh), or on Windows PowerShell 3.0 or newer on PATH",
    "STORE_FAILED": "read details and the service's log; check the disk and, for SQLite, PRAGMA integrity_check",
    "SUDO_PASSWORD_NEEDED": "give ansible_become_password, or allow sudo without one (NOPASSWD) for this user",
    "SUDO_REFUSED": "allow this user to use sudo, correct the become password, or log in as root",
    "TASK_CANCELLED": "what was at work has ended as its rows say; ask again for the rest",
    "TASK_FAILED": "read the task: openngt task show",
    "TASK_NOT_CANCELLABLE": "wait for its end: openngt task show; what can be cancelled is a task for many VMs",
    "TASK_TIMED_OUT": "the task goes on in the service; look at it and repeat with a longer timeout",
    "TLS_NOT_TRUSTED": "give the service's CA file (option ca_file); verification cannot be switched off",
    "UNSUPPORTED_DISTRIBUTION": "see the support table; allow_unsupported_distribution: true tries it all the same",
    "UPGRADE_INVALID": "repeat the upgrade; when it happens again, compare the service's package and the guest's clock",
    "UPGRADE_ROLLED_BACK": "the earlier agent serves; the message says what the new one did, the guest's journal more",
    "UPGRADE_UNDER_WAY": "wait until the upgrade before this one has ended (ngtcli status in the guest)",
    "VERSION_UNSUPPORTED": "bring service and agent to versions that belong together: openngt compatibility, upgrade",
    "VM_AMBIGUOUS": "name the VM by its UUID",
    "VM_BUSY": "wait for the holder named in details.holder, or let its lease end",
    "VM_NOT_FOUND": "set openngt_vm to the VM's UUID or its name on the hypervisor",
    "VM_PAUSED": "resume the VM on its hypervisor, or use off or power_cycle",
    "VM_POWERED_OFF": "power the VM on; a guest that is off can neither install nor connect",
    "VM_POWERED_ON": "switch the VM off first (openngt vm power off); what it runs on must not change under it",
    "WINDOWS_PYTHON_MISSING": "give the service python.org's embeddable package: setting windows_python",
}  # type: Dict[str, str]


class OpenNGTError(Exception):
    """A failure that a user can act on.

    `code` is a key of REMEDIES; `details` holds JSON values and never a secret.
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: Optional[Dict[str, Any]] = None,
        remedy: Optional[str] = None,
    ) -> None:
        super(OpenNGTError, self).__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        self.remedy = REMEDIES[code] if remedy is None else remedy

    def to_dict(self) -> Dict[str, Any]:
        """The form in which it crosses the API and lands in a module's failure."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy, "details": self.details}
