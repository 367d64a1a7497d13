# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks: what each looks for, why it may fail, what to do, its defaults. docs/health.md is written from here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from openngt.pki.expiry import BOOTSTRAP_GRACE, EXPIRY_ALERT, EXPIRY_POLICY

from . import checks
from .checks import Judge
from .policy import AlertFrom, Policy, Threshold

__all__ = ["CHECKS", "Check", "default_policy"]

DAYS: Final = {state: days for days, state in EXPIRY_POLICY}
"""The one table of expiry, for the defaults."""


@dataclass(frozen=True)
class Check:
    name: str
    title: str
    description: str
    causes: tuple[str, ...]
    resolutions: tuple[str, ...]
    judge: Judge
    thresholds: tuple[Threshold, ...] = ()
    alert_from: AlertFrom = "WARN"
    alert_code: str | None = None
    """The number under which the original product knows the alert."""

    @property
    def limits(self) -> Mapping[str, Threshold]:
        return {threshold.name: threshold for threshold in self.thresholds}


def default_policy(check: Check) -> Policy:
    defaults = {threshold.name: threshold.default for threshold in check.thresholds}
    return Policy(True, check.alert_from, defaults)


def expiry_thresholds(what: str) -> tuple[Threshold, ...]:
    return (
        Threshold("info_days", DAYS["INFO"], 1, 3650, f"INFO at so many days before the end of {what}"),
        Threshold("warn_days", DAYS["WARN"], 1, 3650, "WARN from there on", below="info_days"),
        Threshold("fail_days", DAYS["FAIL"], 0, 3650, "FAIL from there on, and when it has expired", below="warn_days"),
    )


TABLE: Final = (
    Check(
        name="ngt_client_cert_expiry_check",
        title="NGT client certs expiry",
        description="Client certificates present on the guest VMs will expire soon",
        causes=(
            "NGT client certificates have a definite expiry period (validity_days, 1000 by default).",
            "An agent still lives on the short-lived certificate of its ISO: the service could not hand it a new one.",
        ),
        resolutions=(
            "Refresh the certificate: openngt refresh run VM, or the playbook openngt.guest_tools.refresh for all that "
            "end soon.",
            "If the agent has not rotated, read openngt task list --vm VM for the failed rotation, and the agent's "
            "journal; identity.rotate may be blocked in the guest.",
        ),
        judge=checks.ngt_client_cert_expiry_check,
        thresholds=(
            *expiry_thresholds("a certificate"),
            Threshold(
                "rotation_minutes",
                int(BOOTSTRAP_GRACE.total_seconds() // 60),
                1,
                1440,
                "WARN when an agent lives so long on the certificate of its ISO",
            ),
        ),
        alert_from="INFO",
        alert_code=EXPIRY_ALERT,
    ),
    Check(
        name="ngt_installer_version_check",
        title="NGT installer version",
        description="Agents that are older than the version on the service's ISO, or do not work with this service",
        causes=("The service was upgraded and the agents were not.",),
        resolutions=(
            "Upgrade the agents: openngt upgrade run, or the playbook openngt.guest_tools.upgrade.",
            "An agent that knows no upgrade (AGENT_TOO_OLD) is installed: the playbook openngt.guest_tools.install.",
        ),
        judge=checks.ngt_installer_version_check,
    ),
    Check(
        name="ngt_link_check",
        title="NGT communication link",
        description="VMs that are powered on and whose agent has no link to the service",
        causes=(
            "The agent is not installed or does not run, or the guest does not boot.",
            "A firewall stands between the guest and port 2074 of the service.",
            "The gateway refuses the agent's certificate: the message says why.",
            "The guest's clock is so wrong that no certificate is valid for it.",
            "INFO: a serial port failed within an hour of a return, and the network carries the link until it is over.",
        ),
        resolutions=(
            "In the guest: ngtcli status, journalctl -u ngt_guest_agent.service, and nc -vz ADDRESS 2074 for the port.",
            "For a refused identity openngt refresh run VM --via iso: the agent takes the new one from the disc.",
            "Where no agent has ever connected: run the playbook openngt.guest_tools.install.",
            "For a serial port that fails: look at it on the hypervisor; a restart of the agent tries it at once.",
        ),
        judge=checks.ngt_link_check,
        thresholds=(Threshold("warn_minutes", 5, 0, 10080, "WARN when a link is down for so long"),),
    ),
    Check(
        name="ngt_iso_check",
        title="NGT ISO mounted",
        description="Tools ISOs that stay in a drive too long, and ISO files that belong to no mount",
        causes=(
            "An installation was left half-way.",
            "The guest does not let go of the disc, or the hypervisor does not answer.",
        ),
        resolutions=("Unmount the disc in the guest, then openngt vm eject VM; the service retries by itself.",),
        judge=checks.ngt_iso_check,
        thresholds=(Threshold("warn_minutes", 120, 1, 20160, "WARN when an ISO is mounted for so long"),),
    ),
    Check(
        name="ngt_clock_skew_check",
        title="NGT clock skew",
        description="Guests whose clock differs from the service's",
        causes=("No time source in the guest, or a guest that was suspended or reverted.",),
        resolutions=("Set the guest's clock right: timedatectl set-ntp true; the agent tells its time each minute.",),
        judge=checks.ngt_clock_skew_check,
        thresholds=(
            Threshold("warn_seconds", 30, 2, 86400, "WARN from so many seconds on", below="fail_seconds"),
            Threshold("fail_seconds", 300, 3, 604800, "FAIL from so many seconds on"),
        ),
    ),
    Check(
        name="ngt_duplicate_identity_check",
        title="NGT duplicate identity",
        description="One identity that is used by two machines",
        causes=(
            "A VM was cloned with its agent and kept its parent's identity.",
            "A VM was reverted to a snapshot from before its certificate was replaced, and runs twice.",
            "Two VMs of the hypervisor have the same UUID.",
            "Somebody has copied a key.",
        ),
        resolutions=(
            "For a clone: openngt vm enable VM; it takes an identity of its own (with clones = enable: by itself).",
            "Two machines that live with one identity are both in quarantine; the service gives the VM a new one by a "
            "disc, and the copy is refused from then on.",
            "Several VMs of one UUID: give each its own on the hypervisor.",
            "If you know of no copy, take the key for stolen: openngt vm disable VM, then install again.",
        ),
        judge=checks.ngt_duplicate_identity_check,
        thresholds=(Threshold("within_hours", 1, 1, 720, "how long ago the last sighting may be"),),
    ),
    Check(
        name="ngt_identity_recovery_check",
        title="NGT identity recovery",
        description="VMs whose agent was refused with an identity of the past and that are given a new one on a disc",
        causes=(
            "A VM was reverted to a snapshot from before its certificate was replaced, or its disk was restored.",
            "A guest was off for so long that its certificate has expired.",
            "The service was restored from a backup that is older than the agent's certificate.",
        ),
        resolutions=(
            "Wait: the service recovers the VM by itself and tries again, after longer and longer pauses.",
            "If it fails, read openngt task list --vm VM: it names what is in the way (no empty drive, an agent that "
            "does not run).",
        ),
        judge=checks.ngt_identity_recovery_check,
    ),
    Check(
        name="ngt_customization_check",
        title="NGT customization",
        description="VMs whose customization at the first boot failed, or did not end in its time",
        causes=(
            "A script, a package or a command of it failed in the guest: the message is the guest's own.",
            "The guest reads no such disc: cloud-init or Cloudbase-Init is missing, or not told to look for it.",
            "The guest waits, for its network or a package source, longer than wait_seconds.",
            "INFO: a Windows guest's time is over. Windows says nothing by itself, so it may be as it should.",
        ),
        resolutions=(
            "Read all of it: openngt customize show VM; in a Linux guest the module cloud_init_info.",
            "Correct it and customize the VM again under another instance_id; one that timed out takes the same again.",
            "For a VM that is as it should be, or was put right by hand: openngt customize withdraw VM. The service "
            "forgets it then, and nothing is changed in the guest.",
        ),
        judge=checks.ngt_customization_check,
        thresholds=(Threshold("within_days", 30, 1, 3650, "how long ago the end may be"),),
    ),
    Check(
        name="ngt_ca_expiry_check",
        title="NGT service certificates",
        description="The CA's certificate, and those of gateway and API",
        causes=(
            "The CA was made with a definite life.",
            "The service renews the others itself; it could not write them.",
        ),
        resolutions=(
            "For the CA: let another follow it (openngt ca rollover status names the next step, docs: ca-rollover).",
            "For gateway and API: read the service's log for certificates_not_renewed, then restart the service.",
        ),
        judge=checks.ngt_ca_expiry_check,
        thresholds=expiry_thresholds("a certificate"),
        alert_from="INFO",
    ),
    Check(
        name="ngt_disk_space_check",
        title="NGT service disk space",
        description="Free space where the service keeps its database and its ISOs",
        causes=("Something else fills the file system, or large payload extras are kept as many ISOs.",),
        resolutions=("Free space on the named file system; until then nothing is issued or mounted (NO_SPACE).",),
        judge=checks.ngt_disk_space_check,
        thresholds=(
            Threshold("warn_mb", 1024, 1, 10**9, "WARN below so many MB"),
            Threshold("fail_mb", 256, 1, 10**9, "FAIL below so many MB", below="warn_mb"),
        ),
    ),
)
CHECKS: Final[Mapping[str, Check]] = {check.name: check for check in TABLE}
