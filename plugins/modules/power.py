# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch VMs on, off or over."""

DOCUMENTATION = r"""
module: power
short_description: Switch VMs on, off or over, by the hypervisor or through the agent
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Switches one or many VMs. Done means that the hypervisor shows the state, or, after O(verb=guest_reboot), that the
    agent is back from another boot.
  - A state that is there already is no change. What makes no sense in the VM's state, such as O(verb=reset) of one that
    is off, fails before anything is done.
  - VMs that are not enrolled can be switched, too; only O(verb=guest_shutdown) and O(verb=guest_reboot) need the agent.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - The service itself judges what the verb would do, and refuses what it would refuse.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  vm:
    description:
      - UUIDs of the VMs, or their names on the hypervisor. All are under way before the first is waited for.
    type: list
    elements: str
    required: true
  verb:
    description:
      - V(on) starts the VM.
      - V(off) pulls the plug. The guest is not asked, and may lose data.
      - V(shutdown) presses the power button (ACPI). A guest may ignore it, which fails with C(ACPI_IGNORED).
      - V(reset) presses the reset button.
      - V(power_cycle) is V(off), then V(on).
      - V(guest_shutdown) has the agent shut the guest down.
      - V(guest_reboot) has the agent start the guest anew.
      - The guest's administrator may block the last two, which fails with C(METHOD_BLOCKED).
    type: str
    choices: ["on", "off", shutdown, reset, power_cycle, guest_shutdown, guest_reboot]
    required: true
  fallback:
    description:
      - How far to go when the guest does not shut down within O(wait_seconds), or its agent cannot be asked.
      - V(acpi) presses the power button after O(verb=guest_shutdown).
      - V(off) pulls the plug after O(verb=shutdown), and after O(verb=guest_shutdown) and ACPI.
      - What the guest's administrator has blocked is not done in another way.
    type: str
    choices: [none, acpi, "off"]
    default: none
  wait_seconds:
    description:
      - How long the guest may take; with O(fallback), for each way that is tried.
      - It is this time, and not O(timeout), that bounds the waiting.
    type: int
    default: 300
  force:
    description:
      - Also while somebody has a tools ISO mounted in the VM, which fails with C(VM_BUSY) otherwise.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.vm
  - module: openngt.guest_tools.vm_info
"""

EXAMPLES = r"""
- name: Reboot a guest and wait until its agent is back
  openngt.guest_tools.power:
    vm: web1
    verb: guest_reboot
    wait_seconds: 600
  delegate_to: localhost

- name: Shut a guest down through its agent, by ACPI if that does not work
  openngt.guest_tools.power:
    vm: web1
    verb: guest_shutdown
    fallback: acpi
  delegate_to: localhost

- name: Switch two VMs on at once
  openngt.guest_tools.power:
    vm: [web1, 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11]
    verb: "on"
  delegate_to: localhost
"""

RETURN = r"""
vms:
  description: One entry for each VM, in order; after a failure those that did not fail.
  returned: always
  type: list
  elements: dict
  contains:
    vm:
      description: The VM as it was named.
      type: str
    vm_uuid:
      description: Its UUID.
      type: str
    changed:
      description: Whether there was something to do.
      type: bool
    before:
      description: The power state before.
      type: str
    power_state:
      description: The power state as the hypervisor shows it now.
      type: str
    stopped_by:
      description: V(agent), V(acpi) or V(off), whichever stopped a guest; else C(null).
      type: str
    failed_before:
      description: The ways that were tried before, each with C(by), C(code) and C(message).
      type: list
      elements: dict
    boot_id:
      description: Id of the guest's new boot after O(verb=guest_reboot); else C(null).
      type: str
  sample:
    - vm: web01
      vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      verb: guest_shutdown
      changed: true
      before: "on"
      power_state: "off"
      stopped_by: agent
      failed_before: []
      boot_id: null
code:
  description:
    - The failure's stable code, for example C(ACPI_IGNORED), C(METHOD_BLOCKED), C(VM_POWERED_OFF) or C(VM_BUSY); the
      first VM's, where several failed. C(details.failed) then has each one's.
  returned: failure
  type: str
  sample: ACPI_IGNORED
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

from collections.abc import Sequence
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.powering import FALLBACKS, VERBS, Outcome, failure_of, power

RESTARTS = ("reset", "power_cycle", "guest_reboot")


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str", "required": True},
        verb={"type": "str", "choices": list(VERBS), "required": True},
        fallback={"type": "str", "choices": list(FALLBACKS), "default": "none"},
        wait_seconds={"type": "int", "default": 300},
        force={"type": "bool", "default": False},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: dict[str, Any], *, check_mode: bool) -> tuple[dict[str, Any], Optional[OpenNGTError]]:
    """The module's result, and the failure of the VMs that are not in it."""
    how = {name: params[name] for name in ("fallback", "wait_seconds", "force")}
    with client_of(params) as client:
        outcomes = power(client, params["vm"], params["verb"], check=check_mode, **how)
    return result_of(params["verb"], outcomes), failure_of(params["verb"], outcomes)


def result_of(verb: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    done = {outcome.vm: outcome.result for outcome in outcomes if outcome.result is not None}
    before = {vm: {"power_state": result["before"]} for vm, result in done.items()}
    after = {
        vm: {"power_state": result["power_state"], **({"restarted": True} if verb in RESTARTS else {})}
        for vm, result in done.items()
    }
    return {
        "changed": any(result["changed"] for result in done.values()),
        "vms": [{"vm": vm, **result} for vm, result in done.items()],
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    module = define_module()
    try:
        result, failure = run(module.params, check_mode=module.check_mode)
    except OpenNGTError as error:
        fail(module, error)
    else:
        if failure is not None:
            fail(module, failure, **result)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
