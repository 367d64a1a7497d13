# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What a guest itself shows about its link."""

DOCUMENTATION = r"""
module: link_info
short_description: Read what a guest shows about its link
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Looks at everything in this guest that a link depends on. It is the guest's half of a diagnosis, to be joined with
    M(openngt.guest_tools.diagnosis_info); the playbook C(openngt.guest_tools.diagnose) does both.
  - Needs no service, and works on guests without an agent.
  - Without root, what only root may read is C(null), and the diagnosis names the checks that were not made.
extends_documentation_fragment:
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
attributes:
  platform:
    support: full
    platforms: linux
options:
  gateway_host:
    description:
      - Where the service says that agents shall go. It is tried beside the address in the agent's own configuration.
    type: str
  gateway_port:
    description:
      - Port of the gateway.
    type: int
    default: 2074
  controller_time:
    description:
      - The controller's time in seconds since the epoch, to compare the guest's clock with. Without it clocks are only
        compared roughly.
    type: float
  label:
    description:
      - Label of tools discs.
    type: str
    default: NUTANIX_TOOLS
seealso:
  - module: openngt.guest_tools.diagnosis_info
  - module: openngt.guest_tools.agent
"""

EXAMPLES = r"""
- name: Look at the guest
  openngt.guest_tools.link_info:
    gateway_host: 192.0.2.10
    controller_time: "{{ now().timestamp() }}"
  become: true
  register: guest

- name: Show whether it reaches the gateway
  ansible.builtin.debug:
    msg: "{{ guest.guest.gateway }}"
"""

RETURN = r"""
guest:
  description: What was seen. What is not known is C(null).
  returned: success
  type: dict
  contains:
    time:
      description: The guest's clock.
      type: str
    clock_ahead_seconds:
      description: By how much it is ahead of O(controller_time).
      type: float
    is_root:
      description: Whether root has looked.
      type: bool
    python:
      description: Version of the Python that ran this module.
      type: str
    vm_uuid:
      description: The VM's UUID as its firmware gives it.
      type: str
    agent_files:
      description: Files and folders of an agent, broken ones included.
      type: list
      elements: str
    installed:
      description: Whether there is an agent, running or not.
      type: bool
    status:
      description: What C(ngtcli status) says.
      type: dict
    unit:
      description: What systemd says of the agent's unit.
      type: dict
    journal:
      description: Last lines of the agent's journal.
      type: list
      elements: str
    config:
      description: Where the agent is sent.
      type: dict
    gateway:
      description: What came of each address that was tried; C(tcp) and C(tls) are C(null) where all is well.
      type: list
      elements: dict
      sample:
        - {host: 192.0.2.10, port: 2074, configured: true, tcp: null, tls: null}
    firewall:
      description: Rules of the guest's own packet filter that stop the gateway's port.
      type: list
      elements: str
    serial_devices:
      description: Serial ports that a link could go over.
      type: list
      elements: str
    other_tools:
      description: Paths of another vendor's guest tools.
      type: list
      elements: str
    file_systems:
      description: Free space where the agent writes.
      type: list
      elements: dict
    disc:
      description: A tools disc in a drive of this guest.
      type: dict
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: COMMAND_TIMED_OUT
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.link_facts import Asked, collect


def define_module() -> AnsibleModule:
    spec = {
        "gateway_host": {"type": "str"},
        "gateway_port": {"type": "int", "default": 2074},
        "controller_time": {"type": "float"},
        "label": {"type": "str", "default": "NUTANIX_TOOLS"},
    }
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: Dict[str, Any]) -> Dict[str, Any]:
    asked = Asked(params["gateway_host"], params["gateway_port"], params["controller_time"], params["label"])
    return {"changed": False, "guest": collect(asked)}


def main() -> None:
    module = define_module()
    try:
        result = run(module.params)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
