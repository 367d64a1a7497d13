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
  - A VM that cannot be switched, or a name that is no VM's, gets a code and a remedy in RV(vms), and the others go on;
    the task fails at the end.
  - The service does the work. A play that is interrupted does not stop it, and after a restart of the service it goes
    on; see O(task_id).
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
  action:
    description: Has an action plugin, which shows the progress of each VM.
    support: full
options:
  vm:
    description:
      - UUIDs of the VMs, or their names on the hypervisor. Name all VMs of a play in one task, so that
        O(max_in_flight) counts for all of them.
      - Required without O(task_id), together with O(verb).
    type: list
    elements: str
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
  max_in_flight:
    description:
      - How many VMs are switched at the same time, in the order of O(vm).
    type: int
    default: 16
  wait:
    description:
      - Wait for the end. Otherwise the module returns as soon as the service has begun.
    type: bool
    default: true
  task_id:
    description:
      - Do not begin; look at what an earlier task has begun, or with O(wait) wait for its end.
    type: str
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
  description:
    - A row for each VM, in order, also after a failure. C(state) is V(switched) or V(failed); V(waiting), V(running)
      or V(cancelled) of one that was not ended; V(due), V(unchanged) or V(blocked) in check mode.
  returned: always but for a request that makes no sense
  type: list
  elements: dict
  contains:
    vm:
      description: The VM as it was named.
      type: str
    vm_uuid:
      description: Its UUID; C(null) for a name that no VM, or several, have.
      type: str
    vm_name:
      description: Its name.
      type: str
    verb:
      description: What was asked for.
      type: str
    state:
      description: How far it is.
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
    tasks:
      description: The service's task for this VM, with its progress.
      type: list
      elements: dict
    code:
      description: Why it failed, as C(message), C(remedy) and C(details) say; else C(null).
      type: str
    message:
      description: What happened.
      type: str
    remedy:
      description: What to do about it.
      type: str
    details:
      description: Values that belong to it.
      type: dict
  sample:
    - vm: web01
      vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      vm_name: web01
      verb: guest_shutdown
      state: switched
      changed: true
      before: "on"
      power_state: "off"
      stopped_by: agent
      failed_before: []
      boot_id: null
      tasks: []
      code: null
      message: null
      remedy: null
      details: null
task_id:
  description: The work on the service, for O(task_id) and C(openngt vm power-show); C(null) in check mode.
  returned: success
  type: str
finished:
  description: Whether it has ended.
  returned: success
  type: bool
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

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt import powering
from ..module_utils.openngt.errors import OpenNGTError

RESTARTS = ("reset", "power_cycle", "guest_reboot")
ASK = ("vm", "verb", "fallback", "wait_seconds", "force", "max_in_flight")


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str"},
        verb={"type": "str", "choices": list(powering.VERBS)},
        fallback={"type": "str", "choices": list(powering.FALLBACKS), "default": "none"},
        wait_seconds={"type": "int", "default": 300},
        force={"type": "bool", "default": False},
        max_in_flight={"type": "int", "default": 16},
        wait={"type": "bool", "default": True},
        task_id={"type": "str"},
    )
    return AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        required_one_of=[("vm", "task_id")],
        required_together=[("vm", "verb")],
        mutually_exclusive=[("task_id", "vm")],
    )


def run(params: dict[str, Any], *, check_mode: bool) -> powering.Outcome:
    """Plan, apply unless `check_mode`."""
    ask = {name: params[name] for name in ASK}
    with client_of(params) as client:
        if params["task_id"]:
            outcome = powering.look(client, params["task_id"])
        elif check_mode:
            outcome = powering.predict(client, ask)
        else:
            outcome = powering.begin(client, ask)
        return powering.wait(client, outcome) if params["wait"] and not check_mode else outcome


def result_of(outcome: powering.Outcome) -> dict[str, Any]:
    """The module's result. `changed`: there was something to do, and it was done or would be."""
    known = [row for row in outcome.rows if row["state"] in ("due", "unchanged", "switched")]
    return {
        "changed": any(row["changed"] for row in known),
        "finished": outcome.finished,
        "task_id": outcome.task_id,
        "vms": outcome.rows,
        "diff": {
            "before": {row["vm"]: {"power_state": row["before"]} for row in known},
            "after": {row["vm"]: after(row) for row in known},
        },
    }


def after(row: dict[str, Any]) -> dict[str, Any]:
    return {"power_state": row["power_state"], **({"restarted": True} if row["verb"] in RESTARTS else {})}


def main() -> None:
    module = define_module()
    try:
        outcome = run(module.params, check_mode=module.check_mode)
    except OpenNGTError as error:
        fail(module, error)
    else:
        result, failure = result_of(outcome), powering.failure_of(outcome)
        if failure is not None and outcome.finished:
            fail(module, failure, **result)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
