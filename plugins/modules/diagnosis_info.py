# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a VM's link is not active, as the service sees it."""

DOCUMENTATION = r"""
module: diagnosis_info
short_description: Read why a VM's link is not active
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Returns the one cause that the service's own evidence tells, with its remedy, and names the checks that only the
    guest can make. M(openngt.guest_tools.link_info) makes those, and the filter P(openngt.guest_tools.diagnosed#filter)
    joins both; the playbook C(openngt.guest_tools.diagnose) does it all.
  - Also answers for a VM that is on the hypervisor and not enrolled.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  platform:
    support: full
    platforms: posix
options:
  vm:
    description:
      - UUID or name of the VM.
    type: str
    required: true
seealso:
  - module: openngt.guest_tools.link_info
  - module: openngt.guest_tools.vm_info
"""

EXAMPLES = r"""
- name: Ask why web1 has no link
  openngt.guest_tools.diagnosis_info:
    vm: web1
  delegate_to: localhost
  register: answer

- name: Show cause and remedy
  ansible.builtin.debug:
    msg: "{{ answer.diagnosis.message }}: {{ answer.diagnosis.remedy }}"
"""

RETURN = r"""
diagnosis:
  description: What the service's side tells.
  returned: success
  type: dict
  contains:
    vm_uuid:
      description: The VM.
      type: str
    vm_name:
      description: Its name.
      type: str
    link_active:
      description: Whether the link is active.
      type: bool
    cause:
      description: A stable code of the table of causes, or C(NOT_KNOWN).
      type: str
      sample: VM_POWERED_OFF
    message:
      description: The cause in words.
      type: str
    remedy:
      description: What to do; where the cause is not known, where to look next.
      type: str
    evidence:
      description: What the cause was told by.
      type: list
      elements: str
    also:
      description: Further causes that hold as well.
      type: list
      elements: dict
    checks:
      description: Each check with its C(state), C(ok), C(failed) or C(not_made), and what was C(found).
      type: list
      elements: dict
    service_saw:
      description: The evidence itself.
      type: dict
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: VM_NOT_FOUND
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec=service_spec(vm={"type": "str", "required": True}),
        supports_check_mode=True,
    )


def run(params: dict[str, Any]) -> dict[str, Any]:
    with client_of(params) as client:
        return {"changed": False, "diagnosis": client.diagnosis(params["vm"])}


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
