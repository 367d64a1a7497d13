# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the agent in a Windows guest, or not. The code is the action plugin's: ansible.windows runs its scripts."""

DOCUMENTATION = r"""
module: windows_agent
short_description: Install the agent in a Windows guest from its tools disc, or remove it
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Checks a Windows guest, and has the agent of the wanted version installed, running and connected in it.
  - The scripts are those of M(openngt.guest_tools.fleet_install), and M(ansible.windows.win_powershell) runs them. The
    Python on the disc is known by a digest that the service tells before anything of the disc is started, and the agent
    verifies the disc against the CA and this VM's UUID.
  - A guest whose agent is well is left alone, and needs no disc.
  - Has not met a real Windows yet.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Needs no disc; what is on it is judged in the real run only.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: windows
  action:
    description:
      - Is an action plugin. It asks the service from the controller, and the guest over the host's own connection.
    support: full
options:
  state:
    description:
      - V(present) installs what is wanted, V(absent) removes the agent with its service, identity, logs and Python.
      - Drivers and VM Mobility are never touched, and what is in use goes with the guest's next restart.
    type: str
    choices: [present, absent]
    default: present
  version:
    description:
      - Version that must run. By default the one that this collection carries.
    type: str
  label:
    description:
      - Label of the tools disc; drives with this label are looked into first.
    type: str
    default: NUTANIX_TOOLS
  ca_sha256:
    description:
      - Fingerprint of the CA that the disc must be signed by, as M(openngt.guest_tools.mount) returns it.
      - Required to install.
    type: str
  generation:
    description:
      - Generation of the identity that the agent must have at least, as M(openngt.guest_tools.mount) returns it for the
        disc. An agent that runs with an older one takes the disc's.
      - By default any will do.
    type: int
    default: 0
  wait_seconds:
    description:
      - How long the agent has to connect and take its long-lived identity.
    type: float
    default: 60.0
  minimum_free_mb:
    description:
      - Free space in MB that the drives of C(%ProgramFiles%) and of the temporary folder must have.
    type: int
    default: 550
  gateway_host:
    description:
      - Address of the service's gateway as the guest sees it. Without it the gateway is not tried.
    type: str
  gateway_port:
    description:
      - Port of the service's gateway.
    type: int
    default: 2074
  allow_unsupported_distribution:
    description:
      - Install on a version of Windows outside the support table.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.agent
  - module: openngt.guest_tools.mount
"""

EXAMPLES = r"""
- name: Say what a Windows guest needs
  openngt.guest_tools.windows_agent:
  check_mode: true

- name: Install from the disc in the drive
  openngt.guest_tools.windows_agent:
    ca_sha256: "{{ tools.mount.ca_sha256 }}"

- name: Remove the agent
  openngt.guest_tools.windows_agent:
    state: absent
"""

RETURN = r"""
agent:
  description: The agent as C(ngtcli status) shows it; C(null) when none is installed.
  returned: success
  type: dict
steps:
  description: What the installer did; empty when nothing was to be done, and in check mode.
  returned: success
  type: list
  elements: raw
operation:
  description: What had to be done, C(none), C(install) or C(uninstall).
  returned: success
  type: str
  sample: install
reason:
  description: Why something is to be done, or not.
  returned: success
  type: str
  sample: no agent is installed
reboot_required:
  description: Whether a part of the agent is in use and goes with the guest's next restart.
  returned: when it was removed
  type: bool
findings:
  description: What was looked at, as M(openngt.guest_tools.prerequisites) returns it.
  returned: success
  type: list
  elements: dict
met:
  description: Whether nothing stands in the way.
  returned: success
  type: bool
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: PREREQUISITES_NOT_MET
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""
