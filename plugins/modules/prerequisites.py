# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What a guest must have before anything is installed in it."""

DOCUMENTATION = r"""
module: prerequisites
short_description: Check what a guest needs for the agent
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Looks at everything an installation needs and reports all findings at once, each with what to do about it.
  - Needs no service. Its action plugin looks for a Python before the module is sent, and can have the guest's package
    manager install Python and tar, so that this task may be the first one on a bare guest.
extends_documentation_fragment:
  - openngt.guest_tools.attributes
attributes:
  check_mode:
    support: full
    details:
      - On a guest without Python the result says what would be installed, and nothing fails.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
  action:
    description: Has an action plugin, which works on guests without Python.
    support: full
options:
  minimum_free_mb:
    description:
      - Free space in MB that the file systems of C(/usr/local) and C(/tmp) must have.
    type: int
    default: 550
  minimum_python:
    description:
      - Oldest Python that will do.
    type: str
    default: "3.6"
  mount_point:
    description:
      - Where the tools disc will be mounted.
    type: path
    default: /mnt/nutanix/ngt
  endpoint_host:
    description:
      - Address of the service's gateway, to see whether the guest reaches it. Not reaching it is a warning only.
    type: str
  endpoint_port:
    description:
      - Port of the gateway.
    type: int
    default: 2074
  allow_unsupported_distribution:
    description:
      - Report a distribution outside the support table as a warning.
    type: bool
    default: false
  install:
    description:
      - Install Python and tar with the guest's package manager if they are missing.
    type: bool
    default: false
  fail:
    description:
      - Fail when a finding is C(failed). Otherwise RV(met) tells.
    type: bool
    default: true
seealso:
  - module: openngt.guest_tools.agent
"""

EXAMPLES = r"""
- name: Check a guest
  openngt.guest_tools.prerequisites:
    endpoint_host: 192.0.2.10
  become: true

- name: Prepare bare guests as well
  openngt.guest_tools.prerequisites:
    install: true
  become: true

- name: Only ask
  openngt.guest_tools.prerequisites:
    fail: false
  register: guest
"""

RETURN = r"""
findings:
  description: What was looked at, in the order in which a person would fix it.
  returned: success, and in C(details) of a failure with the code C(PREREQUISITES_NOT_MET)
  type: list
  elements: dict
  contains:
    name:
      description: What was looked at.
      type: str
    state:
      description: C(ok), C(warning) or C(failed).
      type: str
    found:
      description: How it is.
      type: str
    wanted:
      description: How it should be.
      type: str
    remedy:
      description: What to do; empty when it is C(ok).
      type: str
met:
  description: Whether nothing stands in the way. Warnings do not.
  returned: success
  type: bool
installed:
  description: What the package manager installed, or would install in check mode.
  returned: success
  type: list
  elements: str
  sample: [python, tar]
python:
  description: Path of the guest's Python; C(null) in check mode where it would be installed.
  returned: success
  type: str
  sample: /usr/bin/python3
code:
  description: The failure's stable code, C(PREREQUISITES_NOT_MET), C(UNSUPPORTED_DISTRIBUTION) or C(GUEST_UNREACHABLE).
  returned: failure
  type: str
  sample: PREREQUISITES_NOT_MET
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

import sys
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.facts import collect
from ..module_utils.openngt.install.prerequisites import Wanted, demand, findings, is_met, parse_version


def define_module() -> AnsibleModule:
    spec = {
        "minimum_free_mb": {"type": "int", "default": 550},
        "minimum_python": {"type": "str", "default": "3.6"},
        "mount_point": {"type": "path", "default": "/mnt/nutanix/ngt"},
        "endpoint_host": {"type": "str"},
        "endpoint_port": {"type": "int", "default": 2074},
        "allow_unsupported_distribution": {"type": "bool", "default": False},
        "install": {"type": "bool", "default": False},
        "fail": {"type": "bool", "default": True},
    }
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: Dict[str, Any], python: str) -> Dict[str, Any]:
    host, port = params["endpoint_host"], params["endpoint_port"]
    wanted = Wanted(
        minimum_free_mb=params["minimum_free_mb"],
        minimum_python=parse_version(params["minimum_python"]),
        endpoint="{0}:{1}".format(host, port) if host else "",
        allow_unsupported_distribution=params["allow_unsupported_distribution"],
    )
    found = findings(collect(params["mount_point"], (host, port) if host else None), wanted)
    if params["fail"]:
        demand(found)
    return {
        "changed": False,
        "findings": [dict(finding._asdict()) for finding in found],
        "met": is_met(found),
        "installed": [],
        "python": python,
    }


def main() -> None:
    module = define_module()
    try:
        result = run(module.params, sys.executable)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
