# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give agents that run new certificates, for one VM or a fleet."""

DOCUMENTATION = r"""
module: refresh
short_description: Refresh the certificates of running agents
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Has the service give VMs new certificates while their agents run, without a restart of agent or guest. Over a live
    link the agent asks for the certificate of a key that it makes itself; else the service puts a disc that holds the
    identity alone into an empty CD-ROM drive, and the agent takes it.
  - A VM is refreshed when its agent has connected with the new certificate. The old one is refused from then on, and
    the disc is ejected and deleted.
  - A VM that cannot be refreshed gets a code and a remedy in RV(vms), and the others go on; the task fails at the end.
  - The service does the work. A play that is interrupted does not stop it, and after a restart of the service it goes
    on.
  - O(threshold_days) chooses VMs, O(validity_days) is the life of the new certificates. The original product has one
    option for both under the name of the first.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Names each VM that would be refreshed and why, and fails for what stands in the way now.
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
      - UUIDs or names of VMs. A name that no VM has, or that several have, is an error before anything is changed.
      - Without O(threshold_days), each of them is refreshed at each run.
    type: list
    elements: str
  threshold_days:
    description:
      - Refresh only VMs whose certificate ends within so many days; 0 takes those that have expired.
      - Without O(vm), of all enrolled VMs. A second run then changes nothing.
    type: int
  validity_days:
    description:
      - How many days the new certificates live, at most until the end of the CA. Default is the service's setting.
    type: int
  via:
    description:
      - V(link) goes over the live link only, V(iso) by a disc only; V(auto) over the link where it is up, else by a
        disc.
      - An agent that is too old to ask for a certificate over its link gets a disc with V(auto).
    type: str
    choices: [auto, link, iso]
    default: auto
  max_in_flight:
    description:
      - How many VMs are worked on at the same time.
    type: int
    default: 8
  jitter_days:
    description:
      - Each certificate lives up to so many days less, at random, so that those of a fleet do not end in one night.
      - Default is a twentieth of the life when several VMs are refreshed, and 0 with O(validity_days).
    type: int
  spread_seconds:
    description:
      - Begin each VM at a random time within so many seconds.
    type: float
    default: 0.0
  wait_seconds:
    description:
      - How long an agent may take for one step, for example to take the disc.
    type: float
    default: 180.0
  wait:
    description:
      - Wait for the end. Otherwise the module returns as soon as the service has begun.
    type: bool
    default: true
  task_id:
    description:
      - Do not begin a refresh; look at this one, or with O(wait) wait for its end.
    type: str
seealso:
  - module: openngt.guest_tools.vm_info
  - module: openngt.guest_tools.health_info
  - module: openngt.guest_tools.mount
"""

EXAMPLES = r"""
- name: Refresh every certificate that ends within 45 days
  openngt.guest_tools.refresh:
    threshold_days: 45
  delegate_to: localhost
  run_once: true

- name: Give a VM a certificate of 400 days by disc
  openngt.guest_tools.refresh:
    vm: web1
    validity_days: 400
    via: iso
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
vms:
  description:
    - A row for each VM, also after a failure. C(state) is V(refreshed), V(failed) or V(unchanged); V(waiting) or
      V(running) before the end; V(cancelled) of one that was not begun when somebody cancelled it; V(due) or
      V(blocked) in check mode.
  returned: always but for a request that makes no sense
  type: list
  elements: dict
  sample:
    - vm_name: web01
      vm_uuid: 5dafd6d6-065b-4b1a-b567-491f4d6b35b3
      state: refreshed
      reason: expires in 12 days
      via: link
      key: agent
      old_serial: 3f2a1c
      new_serial: 5b77e0
      old_not_after: "2026-12-04T07:00:00Z"
      new_not_after: "2029-08-18T07:00:00Z"
      code: null
      message: null
      remedy: null
task_id:
  description: The refresh on the service, for O(task_id) and C(openngt refresh show); C(null) when none was begun.
  returned: success
  type: str
finished:
  description: Whether it has ended.
  returned: success
  type: bool
code:
  description:
    - The failure's stable code. For one VM its own, for example C(VM_POWERED_OFF), C(NO_EMPTY_DRIVE),
      C(METHOD_BLOCKED), C(AGENT_TOO_OLD) or C(AGENT_TIMED_OUT); C(TASK_FAILED) for several.
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

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.fleet_work import FleetWork
from ..module_utils.openngt.client import Client
from ..module_utils.openngt.errors import OpenNGTError

ASK = (
    "vm",
    "threshold_days",
    "validity_days",
    "via",
    "max_in_flight",
    "jitter_days",
    "spread_seconds",
    "wait_seconds",
)


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str"},
        threshold_days={"type": "int"},
        validity_days={"type": "int"},
        via={"type": "str", "choices": ["auto", "link", "iso"], "default": "auto"},
        max_in_flight={"type": "int", "default": 8},
        jitter_days={"type": "int"},
        spread_seconds={"type": "float", "default": 0.0},
        wait_seconds={"type": "float", "default": 180.0},
        wait={"type": "bool", "default": True},
        task_id={"type": "str"},
    )
    return AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        required_one_of=[("vm", "threshold_days", "task_id")],
        mutually_exclusive=[("task_id", "vm"), ("task_id", "threshold_days")],
    )


def shown(row: dict[str, Any], age: str) -> dict[str, Any]:
    """Days, for people: when the VM's certificate ends."""
    return {"certificate_ends": (row[f"{age}_not_after"] or "")[:10] or None}


WORK = FleetWork(Client.plan_refresh, Client.refresh, Client.refresh_rows, done="refreshed", ask=ASK, shown=shown)


def main() -> None:
    module = define_module()
    try:
        with client_of(module.params) as client:
            outcome = WORK.run(client, module.params, check_mode=module.check_mode)
    except OpenNGTError as error:
        fail(module, error)
    else:
        WORK.end(module, outcome)


if __name__ == "__main__":
    main()
