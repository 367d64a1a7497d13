# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a VM's link is not active: the one table, in the order in which causes explain each other.

The first cause that the evidence tells is the answer; those after it are told beside it. docs/diagnosis.md prints the
table from here (scripts/diagnosis_table.py). A code is a promise, as in errors.py: added, never renamed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import tells
from .evidence import Seen
from .tells import Told

__all__ = ["CAUSES", "NOT_KNOWN", "Cause"]

INSTALL = "run the playbook openngt.guest_tools.install for this host"


class Cause(NamedTuple):
    code: str
    check: str
    """The check (checks.py) that fails with it."""
    shown_by: str
    """Which side's evidence it takes: `service`, `guest`, `both`, or `either`."""
    when: str
    remedy: str
    tell: Callable[[Seen], Told | None]


NOT_KNOWN = "NOT_KNOWN"

CAUSES: tuple[Cause, ...] = (
    Cause(
        "HOST_IS_ANOTHER_VM",
        "guest",
        "both",
        "the guest's DMI UUID is not that of the VM that the service was asked about",
        "set openngt_vm for this host to the VM that it is, or correct its address in the inventory",
        tells.another_vm_answers,
    ),
    Cause(
        "LINK_ACTIVE",
        "link",
        "service",
        "the service has a live session of the agent; not where the agent denies it and another cause is told",
        "none needed",
        tells.link_active,
    ),
    Cause(
        "SERIAL_PORT_HELD",
        "serial_port",
        "service",
        "beside an active link over the network: the port failed within an hour of a return, and that hour is not over",
        "look at the VM's serial port on the hypervisor; to try it at once: systemctl restart ngt_guest_agent.service",
        tells.serial_port_held,
    ),
    Cause(
        "SERVICE_UNREACHABLE",
        "service",
        "service",
        "the admin API does not answer",
        "start the service (systemctl status openngt.service on its host), or correct endpoint",
        tells.service_unreachable,
    ),
    Cause(
        "IDENTITY_OF_ANOTHER_VM",
        "identity",
        "guest",
        "the DMI UUID differs from the VM that the agent's identity names",
        "run openngt vm enable for this VM: the agent takes an identity of its own from the disc that is then mounted",
        tells.identity_of_another,
    ),
    Cause(
        "VM_GONE",
        "power",
        "service",
        "the hypervisor answers, and has no VM of that UUID",
        "end its enrolment: openngt vm disable, or enable the VM that took its place",
        tells.vm_gone,
    ),
    Cause(
        "NOT_ENROLLED",
        "enrolled",
        "service",
        "the VM is on the hypervisor, and not enabled in the registry",
        INSTALL + ", or openngt vm enable",
        tells.not_enrolled,
    ),
    Cause("VM_POWERED_OFF", "power", "service", "the hypervisor says so", "power the VM on", tells.powered_off),
    Cause("VM_PAUSED", "power", "service", "the hypervisor says so", "resume the VM on the hypervisor", tells.paused),
    Cause(
        "GATEWAY_NOT_LISTENING",
        "gateway",
        "either",
        "the service says so; or what agents are told is refused both to the guest and to the service's own host",
        "correct gateway_host, gateway_port and cluster_ip of the service, then restart it",
        tells.gateway_silent,
    ),
    Cause(
        "OTHER_TOOLS_PRESENT",
        "other_tools",
        "guest",
        "another vendor's files own the agent's unit, or stand in the way of an installation",
        "uninstall the other vendor's guest tools first, then " + INSTALL,
        tells.other_tools,
    ),
    Cause(
        "GUEST_HAS_NO_PYTHON",
        "agent_installed",
        "guest",
        "no module can run in the guest, for want of an interpreter",
        "run the playbook openngt.guest_tools.install with linux_prerequisites_install=true",
        tells.no_python,
    ),
    Cause(
        "AGENT_NOT_INSTALLED",
        "agent_installed",
        "either",
        "the guest has no agent; or no certificate was ever issued for the VM",
        INSTALL + ", or installer/linux/install_ngt.py by hand",
        tells.agent_not_installed,
    ),
    Cause(
        "NO_SPACE",
        "free_space",
        "guest",
        "`/usr/local` or `/run` is full, and the agent or its journal says that there is no room",
        "free space in the guest, then: systemctl restart ngt_guest_agent.service",
        tells.no_space,
    ),
    Cause(
        "AGENT_MASKED",
        "agent_running",
        "guest",
        "systemd has the unit as masked",
        "in the guest: systemctl unmask ngt_guest_agent.service, then " + INSTALL,
        tells.agent_masked,
    ),
    Cause(
        "AGENT_STOPPED",
        "agent_running",
        "guest",
        "the unit is inactive",
        "in the guest: systemctl start ngt_guest_agent.service",
        tells.agent_stopped,
    ),
    Cause(
        "AGENT_FAILED",
        "agent_running",
        "guest",
        "the unit has failed, or ends as often as it is started",
        "read why: journalctl -u ngt_guest_agent.service; " + INSTALL + " repairs an agent",
        tells.agent_failed,
    ),
    Cause(
        "CLOCK_WRONG",
        "clock",
        "guest",
        "the guest's clock is off by more than 300 s, and a certificate is judged wrongly for it",
        "set the guest's clock right: timedatectl set-ntp true, or the hypervisor's time",
        tells.clock_wrong,
    ),
    Cause(
        "IDENTITY_INVALID",
        "identity",
        "guest",
        "the agent says that its stored identity is missing or damaged",
        INSTALL + ": it brings a new identity",
        tells.identity_damaged,
    ),
    Cause(
        "GATEWAY_ADDRESS_WRONG",
        "gateway_reached",
        "both",
        "the agent's configuration names another address than the service, and the service is not there",
        INSTALL + ": it brings the address of today; if the service's is the wrong one, correct its cluster_ip",
        tells.address_wrong,
    ),
    Cause(
        "GATEWAY_NAME_UNKNOWN",
        "gateway_reached",
        "guest",
        "the gateway's name does not resolve in the guest",
        "correct the guest's DNS, or give the service's cluster_ip as an address",
        tells.name_unknown,
    ),
    Cause(
        "GATEWAY_BLOCKED",
        "gateway_reached",
        "both",
        "the service listens, and the guest's TCP connection to it fails",
        "allow the guest's connections to that address and port in its own packet filter and on the way",
        tells.blocked,
    ),
    Cause(
        "CA_DIFFERS",
        "gateway_trusted",
        "both",
        "the fingerprint of the CA in the agent's identity is not the service's",
        INSTALL + ", if it shall belong to this service; else ask the other one",
        tells.ca_differs,
    ),
    Cause(
        "GATEWAY_NOT_TRUSTED",
        "gateway_trusted",
        "both",
        "the CA is the service's, and who answers at the gateway's address does not show its certificate",
        "find what answers there: a proxy that opens TLS, or another program on that port",
        tells.not_trusted,
    ),
    Cause(
        "DISC_WAITING",
        "disc",
        "either",
        "a tools ISO is in the VM's drive, newer than the agent's identity, or for a VM that was never linked",
        INSTALL
        + ", or in the guest: mount it and run installer/linux/install_ngt.py; its journal says why it took no notice",
        tells.disc_waiting,
    ),
    Cause(
        "CERTIFICATE_EXPIRED",
        "certificate",
        "either",
        "the agent's certificate, or all that the VM could use, are past their end by the service's clock",
        INSTALL + ": it brings a new certificate",
        tells.certificate_expired,
    ),
    Cause(
        "CERTIFICATE_REVOKED",
        "certificate",
        "either",
        "the ledger has the agent's serial as revoked, or the gateway has just refused this VM for it",
        INSTALL + ", if this VM shall have a link again",
        tells.certificate_revoked,
    ),
    Cause(
        "CERTIFICATE_RETIRED",
        "certificate",
        "either",
        "the ledger has the agent's serial as retired, or the gateway has just refused this VM for it",
        INSTALL + ": it brings a new certificate",
        tells.certificate_retired,
    ),
    Cause(
        "CERTIFICATE_UNKNOWN",
        "certificate",
        "both",
        "the CA is the service's, and the ledger has no such serial of this VM",
        INSTALL + ": it brings a certificate that the ledger knows; without a service's: openngt ca adopt",
        tells.certificate_unknown,
    ),
    Cause(
        "PROTOCOL_MISMATCH",
        "protocol",
        "either",
        "the agent or the gateway ended the link for a broken rule of the protocol",
        INSTALL + ": it brings the agent that belongs to this service",
        tells.protocol_differs,
    ),
    Cause(
        "LINK_JUST_LOST",
        "link",
        "service",
        "the session ended less than 30 s ago, and nothing else is wrong",
        "look again in half a minute",
        tells.just_lost,
    ),
)
