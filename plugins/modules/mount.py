# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a VM's tools ISO into an empty CD-ROM drive, or take it out."""

DOCUMENTATION = r"""
module: mount
short_description: Mount a VM's tools ISO, or eject it
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Has the service issue a bootstrap certificate for the VM, make the VM's own tools ISO and put it into an empty
    CD-ROM drive while the VM runs.
  - A medium that somebody else put into a drive is never ejected.
  - A mount belongs to its holder until it is ejected or its lease ends. When the holder was an Ansible run on this very
    machine that has died since, the mount is taken over.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Looks at the drives as well, so that a missing empty drive is known before the run.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
  action:
    description: Has an action plugin, which names this Ansible run as the holder and shows the progress.
    support: full
options:
  vm:
    description:
      - The VM's UUID, or its name on the hypervisor.
    type: str
    required: true
  state:
    description:
      - V(mounted) has the tools ISO in a drive, V(ejected) has it out and its file deleted.
    type: str
    choices: [mounted, ejected]
    default: mounted
  holder:
    description:
      - Who works on the VM; others that come meanwhile are told this text.
      - Made by the action plugin from user, host and the process of the Ansible run unless given.
    type: str
  lease_seconds:
    description:
      - After this time the service itself ejects the ISO, whatever became of the holder.
    type: int
    default: 1800
  force:
    description:
      - With O(state=ejected), eject even if the guest does not let go of the disc, or if another run holds it.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.vm
  - module: openngt.guest_tools.agent
  - module: openngt.guest_tools.iso
"""

EXAMPLES = r"""
- name: Install the agent from a tools ISO that is there only meanwhile
  block:
    - name: Mount the tools ISO
      openngt.guest_tools.mount:
        vm: web1
      delegate_to: localhost
      register: tools

    - name: Install the agent
      openngt.guest_tools.agent:
        ca_sha256: "{{ tools.mount.ca_sha256 }}"
      become: true
  always:
    - name: Eject the tools ISO
      openngt.guest_tools.mount:
        vm: web1
        state: ejected
      delegate_to: localhost
"""

RETURN = r"""
mount:
  description: The mount; C(null) after O(state=ejected) and in check mode before the ISO exists.
  returned: success
  type: dict
  contains:
    drive:
      description: The drive's name on the hypervisor.
      type: str
    generation:
      description: Generation of the identity on the ISO.
      type: int
    ca_sha256:
      description: Fingerprint of the CA, for the installer to pin.
      type: str
    expires:
      description: When the ISO's certificate expires; C(null) when the ISO was mounted already.
      type: str
  sample:
    drive: cd0
    generation: 3
    ca_sha256: 4f1c0f5a0c0e4d0d8ad8f5a3c7c2c2c1f4c0a1b2c3d4e5f60718293a4b5c6d7e
    expires: "2026-11-22T07:00:00Z"
code:
  description:
    - The failure's stable code, for example C(NO_EMPTY_DRIVE) with the content of each drive in C(details.drives), or
      C(VM_BUSY) with C(details.holder).
  returned: failure
  type: str
  sample: NO_EMPTY_DRIVE
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt import holder, mounting
from ..module_utils.openngt.client import Client
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "str", "required": True},
        state={"type": "str", "choices": ["mounted", "ejected"], "default": "mounted"},
        holder={"type": "str"},
        lease_seconds={"type": "int", "default": 1800},
        force={"type": "bool", "default": False},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def make_plan(client: Client, params: dict[str, Any]) -> mounting.Plan:
    mine = params["holder"] or holder.describe(os.getppid())
    if params["state"] == "mounted":
        mounting.demand_lease(params["lease_seconds"])
        return mounting.plan_mount(client, params["vm"], mine, holder.is_dead)
    return mounting.plan_eject(client, params["vm"], mine, holder.is_dead, force=params["force"])


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless `check_mode`, and the module's result."""
    with client_of(params) as client:
        plan = make_plan(client, params)
        mount = None
        if not check_mode:
            how = {name: params[name] for name in ("lease_seconds", "force", "timeout")}
            mount = mounting.apply(client, plan, holder.is_dead, **how)
    return {"changed": plan.action != "none", "mount": mount, "diff": {"before": plan.before, "after": plan.after}}


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
