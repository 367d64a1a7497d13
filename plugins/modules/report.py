# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet in files."""

DOCUMENTATION = r"""
module: report
short_description: Write a report of the whole fleet as JSON, CSV and one page of HTML
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Asks the service for all enrolled VMs, the last results of the health checks, failed tasks and customizations, and
    writes what it has got on the machine where the module runs, usually the controller. A viewer's token is enough.
  - The page holds all that it needs; it asks for nothing from elsewhere, in the browser or when it is printed.
  - All of the files are written or none, each by a rename, so that who reads one finds the old or the new one complete.
  - A file that already says what the report says is left alone, the time in it included. What changes at every look,
    as heartbeats and the times of checks, is not in a report. A certificate's days are, so the next day's differs.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the lines of each file that differ, at most a hundred of each; there is one for each VM.
  platform:
    support: full
    platforms: posix
options:
  json:
    description:
      - File of the report as JSON, with its schema in the documentation's page on reports.
      - The folder has to be there. Without any file nothing is written; the numbers are returned.
    type: path
  csv:
    description:
      - File of the report as CSV, one row for each VM. No cell is a formula to a spreadsheet.
    type: path
  html:
    description:
      - File of the report as a page of HTML.
    type: path
  mode:
    description:
      - Mode of the files, as a string of octal digits. A report names every VM and what is wrong with it.
    type: raw
    default: "0640"
  failure_days:
    description:
      - Failed tasks of the last so many days count, V(1) to V(30), unless one of the same kind was successful since.
    type: int
    default: 7
seealso:
  - module: openngt.guest_tools.health_info
  - module: openngt.guest_tools.vm_info
"""

EXAMPLES = r"""
- name: Write the fleet's report for people and for the asset database
  openngt.guest_tools.report:
    html: /srv/reports/fleet.html
    csv: /srv/reports/fleet.csv
    mode: "0644"
  delegate_to: localhost
  run_once: true

- name: Fail when certificates have expired or are about to
  openngt.guest_tools.report:
  delegate_to: localhost
  run_once: true
  register: report
  failed_when: report is failed or report.counts.expiry.FAIL > 0
"""

RETURN = r"""
counts:
  description: Numbers of VMs; their schema is that of the JSON file.
  returned: success
  type: dict
  sample:
    vms: 3
    states: {"FAIL": 0, "WARN": 1, "INFO": 0, "PASS": 2}
    links: {"serial": 2, "tls": 0, "inactive": 1, "off": 0}
    agents: {"current": 2, "supported": 1, "too_old": 0, "too_new": 0, "unknown": 0, "not_seen": 0}
    expiry: {"FAIL": 0, "WARN": 0, "INFO": 0, "PASS": 3, "none": 0}
failures:
  description: How much was found by each cause, a health check's name or an error's code.
  returned: success
  type: dict
  sample: {"ngt_link_check": 1}
summary:
  description: The fleet in one line, then a line for each cause, with what to do and the names of a few of its VMs.
  returned: success
  type: list
  elements: str
  sample: ["3 VMs: 2 links active, 1 inactive, 0 FAIL, 1 WARN"]
files:
  description: What became of each file, in check mode what would.
  returned: success
  type: list
  elements: dict
  contains:
    format:
      description: C(json), C(csv) or C(html).
      type: str
    path:
      description: The file, absolute, links followed.
      type: str
    changed:
      description: Whether it was written.
      type: bool
    reason:
      description: Why, C(missing), C(content), C(mode) or C(unchanged).
      type: str
  sample:
    - format: html
      path: /srv/reports/fleet.html
      changed: true
      reason: content
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: FILE_UNUSABLE
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
from ..module_utils.openngt import effects
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.report.files import Planned, apply, differing, mode_of, plan, targets_of
from ..module_utils.openngt.report.gather import gather
from ..module_utils.openngt.report.model import report_of, statistics, summary


def define_module() -> AnsibleModule:
    spec = service_spec(
        json={"type": "path"},
        csv={"type": "path"},
        html={"type": "path"},
        mode={"type": "raw", "default": "0640"},
        failure_days={"type": "int", "default": 7},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def told(one: Planned) -> dict[str, Any]:
    return {"format": one.target.form, "path": str(one.target.path), "changed": one.changed, "reason": one.reason}


def diff_of(one: Planned) -> dict[str, str]:
    before, after = differing(one)
    path = str(one.target.path)
    mode = f"{one.mode_before:04o}" if one.mode_before is not None else "absent"
    return {
        "before_header": f"{path} ({mode})",
        "after_header": f"{path} ({one.target.mode:04o})",
        "before": before,
        "after": after,
    }


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Judge the files, ask, plan, apply unless `check_mode`."""
    paths = {form: params[form] for form in ("json", "csv", "html")}
    targets = targets_of(paths, mode_of(params["mode"]))
    with client_of(params) as client:
        now = effects.now()
        report = report_of(gather(client, now, params["failure_days"]), now)
    planned = plan(targets, report)
    if not check_mode:
        apply(planned)
    return {
        "changed": any(one.changed for one in planned),
        "diff": [diff_of(one) for one in planned if one.changed],
        "files": [told(one) for one in planned],
        "summary": summary(report),
        **statistics(report),
    }


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
