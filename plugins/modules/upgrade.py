# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change agents that run over to another version, for one VM or a fleet."""

DOCUMENTATION = r"""
module: upgrade
short_description: Upgrade running agents
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Has the service change the agents of VMs over to another version, without a login to the guest and without a restart
    of it. Over a live link the agent takes the package in pieces; else the service puts the tools ISO into an empty
    CD-ROM drive, and the agent takes it from there. The CA vouches for the package in either case.
  - A VM is upgraded when its new agent has held its link. One that crashes, hangs, or connects and drops is taken back
    in the guest after O(rollback_seconds), and the VM fails with C(UPGRADE_ROLLED_BACK) and what the agent did.
  - A VM that cannot be upgraded gets a code and a remedy in RV(vms). When more than O(max_fail_percentage) of a batch
    failed, the VMs that are left are not begun.
  - The service does the work. A play that is interrupted does not stop it, and after a restart of the service it goes
    on.
  - No guest is restarted. What a guest says of that is in RV(vms) as C(reboot_required).
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Names each VM that would be upgraded and its versions, and fails for what stands in the way now.
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
      - Default is all enrolled VMs that have an agent.
    type: list
    elements: str
  version:
    description:
      - The agent that they shall run. Default is the one of the service; for another, C(ngt_agent-VERSION.pyz) is in
        the folder C(agents) of the service's state folder.
    type: str
  allow_downgrade:
    description:
      - Also take an agent that is older than the one that runs. Without it a newer agent is left as it is, and is an
        error where O(version) names an older one.
    type: bool
    default: false
  via:
    description:
      - V(link) goes over the live link only, V(iso) by the tools ISO only, which carries the service's own agent;
        V(auto) over the link where it is up, else by the ISO.
    type: str
    choices: [auto, link, iso]
    default: auto
  max_in_flight:
    description:
      - How many VMs are worked on at the same time.
    type: int
    default: 8
  batch:
    description:
      - Work on so many VMs, and on the next when all of them have ended. Default is one batch of all.
    type: int
  max_fail_percentage:
    description:
      - Begin no more VMs when more than so many of a batch failed. As in a play, the number has to be exceeded.
    type: float
    default: 20.0
  rollback_seconds:
    description:
      - How long a new agent may take to hold its link, from 5 to 3600; then it is taken back.
    type: int
    default: 120
  spread_seconds:
    description:
      - Begin each VM at a random time within so many seconds.
    type: float
    default: 0.0
  wait_seconds:
    description:
      - How long an agent may take for one step apart from its trial, for example to take the disc.
    type: float
    default: 180.0
  wait:
    description:
      - Wait for the end. Otherwise the module returns as soon as the service has begun.
    type: bool
    default: true
  task_id:
    description:
      - Do not begin an upgrade; look at this one, or with O(wait) wait for its end.
    type: str
seealso:
  - module: openngt.guest_tools.vm_info
  - module: openngt.guest_tools.health_info
  - module: openngt.guest_tools.power
"""

EXAMPLES = r"""
- name: Bring every agent to the service's version
  openngt.guest_tools.upgrade:
  delegate_to: localhost
  run_once: true

- name: Ten VMs at a time, and stop when one of ten fails
  openngt.guest_tools.upgrade:
    batch: 10
    max_fail_percentage: 0
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
vms:
  description:
    - A row for each VM, also after a failure. C(state) is V(upgraded), V(failed), V(not_begun) or V(unchanged);
      V(waiting) or V(running) before the end; V(cancelled) of one that was not begun when somebody cancelled it;
      V(due) or V(blocked) in check mode.
  returned: always but for a request that makes no sense
  type: list
  elements: dict
  sample:
    - vm_name: web01
      vm_uuid: 5dafd6d6-065b-4b1a-b567-491f4d6b35b3
      state: upgraded
      reason: runs 0.1.0
      via: link
      old_version: 0.1.0
      new_version: 0.2.0
      reboot_required: false
      code: null
      message: null
      remedy: null
task_id:
  description: The upgrade on the service, for O(task_id) and C(openngt upgrade show); C(null) when none was begun.
  returned: success
  type: str
finished:
  description: Whether it has ended.
  returned: success
  type: bool
code:
  description:
    - The failure's stable code. For one VM its own, for example C(UPGRADE_ROLLED_BACK), C(DOWNGRADE_REFUSED),
      C(METHOD_BLOCKED), C(AGENT_TOO_OLD) or C(NO_SPACE); C(TASK_FAILED) for several.
  returned: failure
  type: str
  sample: UPGRADE_ROLLED_BACK
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
    "version",
    "allow_downgrade",
    "via",
    "max_in_flight",
    "batch",
    "max_fail_percentage",
    "rollback_seconds",
    "spread_seconds",
    "wait_seconds",
)


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str"},
        version={"type": "str"},
        allow_downgrade={"type": "bool", "default": False},
        via={"type": "str", "choices": ["auto", "link", "iso"], "default": "auto"},
        max_in_flight={"type": "int", "default": 8},
        batch={"type": "int"},
        max_fail_percentage={"type": "float", "default": 20.0},
        rollback_seconds={"type": "int", "default": 120},
        spread_seconds={"type": "float", "default": 0.0},
        wait_seconds={"type": "float", "default": 180.0},
        wait={"type": "bool", "default": True},
        task_id={"type": "str"},
    )
    return AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        mutually_exclusive=[("task_id", "vm"), ("task_id", "version")],
    )


def shown(row: dict[str, Any], age: str) -> dict[str, Any]:
    """The agent that the VM runs."""
    return {"agent_version": row[f"{age}_version"]}


WORK = FleetWork(Client.plan_upgrade, Client.upgrade, Client.upgrade_rows, done="upgraded", ask=ASK, shown=shown)


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
