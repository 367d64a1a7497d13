# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's health checks."""

DOCUMENTATION = r"""
module: health_info
short_description: Read the service's health checks
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Returns the last result of each health check, or runs the checks now; on request also alerts and history.
  - The playbook C(openngt.guest_tools.health), which fails when something is wrong, for a nightly job, is made of it.
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
  checks:
    description:
      - Names of the checks; without it all of them.
    type: list
    elements: str
  run:
    description:
      - Run the checks now instead of reading their last results; wants an operator's token.
      - In check mode the last results are read.
      - The service runs them as a task, for which O(timeout) is the limit.
    type: bool
    default: false
  max_items:
    description:
      - How many findings of each check, and how many of RV(problems), are returned at most, the worst first. What a
        play registers stays small, however large the fleet; the totals are those of all.
    type: int
    default: 100
  alerts:
    description:
      - Return the alerts that are not resolved, too.
    type: bool
    default: false
  history_days:
    description:
      - Return the worst state of each VM on each of so many days, too, 1 to 366; the last one is today (UTC).
    type: int
  vm:
    description:
      - UUIDs or names of the VMs whose history is wanted; without it all.
    type: list
    elements: str
seealso:
  - module: openngt.guest_tools.vm_info
"""

EXAMPLES = r"""
- name: Fail when a certificate is about to expire
  openngt.guest_tools.health_info:
    checks: [ngt_client_cert_expiry_check]
    run: true
  delegate_to: localhost
  register: health
  failed_when: health.state | default('FAIL') == 'FAIL'

- name: Read what is wrong, what somebody has acknowledged, and two weeks of web1
  openngt.guest_tools.health_info:
    alerts: true
    history_days: 14
    vm: [web1]
  delegate_to: localhost
"""

RETURN = r"""
state:
  description: The worst state of these checks; V(PASS) when all is well. Checks that are turned off do not count.
  returned: success
  type: str
  sample: WARN
counts:
  description: How many checks are in each state, C(OFF) included.
  returned: success
  type: dict
  sample: {"OFF": 0, "PASS": 6, "INFO": 1, "WARN": 1, "FAIL": 0}
vm_counts:
  description: How many VMs something was found about, by the worst of it.
  returned: success
  type: dict
  sample: {"INFO": 12, "WARN": 1, "FAIL": 0}
problems:
  description: What was found, the worst first, with what to do about it.
  returned: success
  type: list
  elements: dict
  sample:
    - check: ngt_link_check
      state: WARN
      vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      vm_name: web01
      message: "VM: web01 - Communication Link Active : false"
      resolutions: ["In the guest: ngtcli status"]
problems_total:
  description: How many there are, those beyond O(max_items) included.
  returned: success
  type: int
checks:
  description:
    - One result for each check. What it is about stands in its key C(items), a list with one entry for each VM or part
      of the service, the worst first.
    - In Jinja write C(check['items']); C(check.items) is a method.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The check's name.
      type: str
    title:
      description: Its name for people.
      type: str
    state:
      description: C(PASS), C(INFO), C(WARN) or C(FAIL); C(OFF) when somebody has turned the check off.
      type: str
    message:
      description: The result in one sentence.
      type: str
    items_total:
      description: How many there are.
      type: int
    alert_code:
      description: The number of its alert in the original product, if it has one.
      type: str
    resolutions:
      description: What to do about it.
      type: list
      elements: str
    checked_at:
      description: When the check ran.
      type: str
alerts:
  description: Alerts that are not resolved, newest first.
  returned: when O(alerts=true)
  type: list
  elements: dict
history:
  description: The days, and for each VM its states in their order; null where nothing is known of a day.
  returned: when O(history_days) is given
  type: dict
  sample:
    days: ["2026-05-22", "2026-05-23"]
    items: [{"vm_name": "web01", "vm_uuid": "564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11", "days": ["PASS", "INFO"]}]
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: ENDPOINT_UNREACHABLE
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
from ..module_utils.health import summary
from ..module_utils.openngt.client import Client
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    spec = service_spec(
        checks={"type": "list", "elements": "str"},
        run={"type": "bool", "default": False},
        max_items={"type": "int", "default": 100},
        alerts={"type": "bool", "default": False},
        history_days={"type": "int"},
        vm={"type": "list", "elements": "str"},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True, required_by={"vm": ("history_days",)})


def results_of(client: Client, params: dict[str, Any], *, check_mode: bool) -> list[dict[str, Any]]:
    """Of the wanted checks, run now or as they were last."""
    wanted = params["checks"] or []
    if params["run"] and not check_mode:
        task = client.wait_task(client.run_health(wanted), params["timeout"])
        results: list[dict[str, Any]] = client.health_report(task["task_id"])["checks"]
        return results
    results = client.health()
    known = [result["name"] for result in results]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise OpenNGTError(
            "INVALID_INPUT", f"checks names {', '.join(unknown)}; the service has {', '.join(known)}", {"known": known}
        )
    return [result for result in results if not wanted or result["name"] in wanted]


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    if params["max_items"] < 0:
        raise OpenNGTError("INVALID_INPUT", "max_items: give a whole number from 0 on")
    with client_of(params) as client:
        found = summary(results_of(client, params, check_mode=check_mode), params["max_items"])
        if params["alerts"]:
            found["alerts"] = client.health_alerts(checks=params["checks"] or ())
        if params["history_days"] is not None:
            found["history"] = client.health_history(params["checks"] or (), params["vm"] or (), params["history_days"])
    return {"changed": False, **found}


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
