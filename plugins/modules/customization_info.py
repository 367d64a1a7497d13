# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the service is with the customization of VMs, and in a Windows guest what Windows says of it."""

DOCUMENTATION = r"""
module: customization_info
short_description: Read how far VMs are with their customization
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Returns what the service knows of each VM that it has customized, whether the guest can be reached or not.
  - What cloud-init itself says in a guest, M(openngt.guest_tools.cloud_init_info) reads there.
  - On a Windows guest (connection C(winrm), C(psrp), or C(ssh) with PowerShell), without C(delegate_to), it needs no
    service. The ends of the logs of Windows Setup and Sysprep are read there by C(ansible.windows), whoever has given
    the guest its answer file, and what they say of it is in RV(windows_setup). The login must be an administrator's.
    This has not met a real Windows yet.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  platform:
    support: full
    platforms: posix, windows
options:
  vm:
    description:
      - UUIDs or names of VMs. One that was never customized is left out. Default is all that were.
    type: list
    elements: str
  states:
    description:
      - Only VMs that are in one of these states.
    type: list
    elements: str
    choices: [pending, running, done, failed, timed_out]
  wait:
    description:
      - Wait until the guest of each VM in O(vm) is through with it, or the service's own limit for it is over. A VM
        that failed is no failure of this module.
      - In check mode nobody waits; what is there is returned.
    type: bool
    default: false
  wait_seconds:
    description:
      - How long to wait for a VM that has begun with nothing.
    type: int
    default: 1800
seealso:
  - module: openngt.guest_tools.customization
  - module: openngt.guest_tools.cloud_init_info
"""

EXAMPLES = r"""
- name: Wait until web1 is through with it
  openngt.guest_tools.customization_info:
    vm: [web1]
    wait: true
  delegate_to: localhost

- name: Ask which VMs did not become what they should
  openngt.guest_tools.customization_info:
    states: [failed, timed_out]
  delegate_to: localhost
  run_once: true
  register: unfinished

- name: Say why
  ansible.builtin.debug:
    msg: "{{ item.vm_name }}: {{ item.message }}"
  loop: "{{ unfinished.customizations }}"
  run_once: true

- name: Read in a Windows guest what became of its answer file
  openngt.guest_tools.customization_info:
  register: guest

- name: Say where and why it has failed
  ansible.builtin.debug:
    msg: "{{ guest.windows_setup.pass }}: {{ guest.windows_setup.message }} ({{ guest.windows_setup.log }})"
  when: guest.windows_setup is defined and guest.windows_setup.state == 'failed'
"""

RETURN = r"""
customizations:
  description: A row for each VM, without what it was given.
  returned: success, when the service was asked
  type: list
  elements: dict
  contains:
    vm_uuid:
      description: The VM.
      type: str
    vm_name:
      description: Its name.
      type: str
    state:
      description: V(pending) until the guest begins, V(running), then V(done), V(failed) or V(timed_out).
      type: str
    format:
      description: Who reads it in the guest.
      type: str
    instance_id:
      description: By what the guest knows whether it has done this before.
      type: str
    digest:
      description: SHA-256 of what it was given.
      type: str
    code:
      description: The failure's stable code.
      type: str
    message:
      description: What the guest's failed module said.
      type: str
    details:
      description: What else belongs to the failure, for example the module.
      type: dict
    drive:
      description: The drive that holds the disc; C(null) when it is out.
      type: str
    requested_at:
      description: When it was asked for.
      type: str
    started_at:
      description: When the guest began.
      type: str
    finished_at:
      description: When it ended.
      type: str
    deadline:
      description: When the service takes the disc out, whatever became of the guest.
      type: str
  sample:
    - vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      vm_name: web1
      state: failed
      format: cloud_init
      instance_id: i-564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      code: CUSTOMIZATION_FAILED
      message: "scripts-user: Runparts: 1 failures (part-001) in 1 attempted commands"
windows_setup:
  description: What the logs of Windows Setup and Sysprep say. Passwords and product keys are taken out.
  returned: success, on a Windows guest
  type: dict
  contains:
    state:
      description: V(done), V(failed), V(running) while none has said an end, or V(unknown) where there is no log.
      type: str
    phase:
      description: The phase that has logged last, V(setup), V(sysprep), V(specialize) or V(oobe).
      type: str
    pass:
      description: The pass of the answer file that is in force in it, for example V(oobeSystem).
      type: str
    component:
      description: The component whose setting Windows has refused. C(null) where it names none.
      type: str
    message:
      description: The setting that was refused and why, else the entry that tells the end, else the last one.
      type: str
    log:
      description: The log in which that stands.
      type: str
    last_lines:
      description: The last entries of that phase, at most 20.
      type: list
      elements: str
    logs:
      description: The logs that there are, with C(path), C(phase) and C(size).
      type: list
      elements: dict
  sample:
    state: failed
    phase: oobe
    pass: oobeSystem
    component: Microsoft-Windows-Shell-Setup
    message: '/settings/FirstLogonCommands/SynchronousCommand/[Order="5"]/CommandLine: Value is invalid.'
    log: C:\Windows\Panther\UnattendGC\setuperr.log
    last_lines: []
    logs:
      - path: C:\Windows\Panther\UnattendGC\setuperr.log
        phase: oobe
        size: 2048
code:
  description: The failure's stable code, for example C(VM_NOT_FOUND).
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
from ..module_utils.openngt.customization.applying import STATES, follow, known
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str"},
        states={"type": "list", "elements": "str", "choices": list(STATES)},
        wait={"type": "bool", "default": False},
        wait_seconds={"type": "int", "default": 1800},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True, required_if=[("wait", True, ("vm",))])


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    with client_of(params) as client:
        if params["vm"] is None:
            rows = client.customizations()
        else:
            rows = [row for name in params["vm"] if (row := known(client, name)) is not None]
        if params["wait"] and not check_mode:
            rows = [follow(client, row["vm_uuid"], row, params["wait_seconds"]) for row in rows]
    wanted = params["states"] or STATES
    return {"changed": False, "customizations": [row for row in rows if row["state"] in wanted]}


def main() -> None:
    module = define_module()
    try:
        result = run(module.params, check_mode=module.check_mode)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
