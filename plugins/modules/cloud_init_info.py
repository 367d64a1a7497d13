# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What became of cloud-init in this guest."""

DOCUMENTATION = r"""
module: cloud_init_info
short_description: Read in a guest what became of cloud-init
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Reads C(cloud-init status --format json), or where cloud-init is older than 22.4 the files of its run folder, and
    C(/var/log/cloud-init.log) and C(/var/log/cloud-init-output.log).
  - Names the module that failed and what that one said, which is in the second log and not in the status.
  - Works in any guest with cloud-init, whoever has given it its user-data; needs no service.
  - Without root the logs cannot be read, and of a failure only cloud-init's own errors are there.
extends_documentation_fragment:
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
attributes:
  platform:
    support: full
    platforms: linux
options:
  fail:
    description:
      - Fail with C(CUSTOMIZATION_FAILED) where a module of cloud-init failed.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.customization
  - module: openngt.guest_tools.customization_info
"""

EXAMPLES = r"""
- name: See what cloud-init has done
  openngt.guest_tools.cloud_init_info:
  become: true
  register: guest

- name: Say it
  ansible.builtin.debug:
    msg: "{{ guest.cloud_init.state }} {{ guest.cloud_init.message or '' }}"

- name: Stop where it has failed
  openngt.guest_tools.cloud_init_info:
    fail: true
  become: true
"""

RETURN = r"""
cloud_init:
  description: What was found. What is not known is C(null). Also after C(CUSTOMIZATION_FAILED).
  returned: success
  type: dict
  contains:
    state:
      description:
        - V(absent) without cloud-init, V(disabled), V(pending) until it begins, V(running), V(done), or V(failed) when
          one of its modules has failed.
      type: str
    module:
      description: The first module that failed.
      type: str
    message:
      description: What every failed module raised, and its last lines of output; at most 2 KiB.
      type: str
    errors:
      description: The errors as cloud-init has them.
      type: list
      elements: str
    warnings:
      description: The last lines of its log at WARNING and above, since the last boot.
      type: list
      elements: str
    last_lines:
      description: The last lines of its output.
      type: list
      elements: str
    datasource:
      description: Where its data came from, for example V(nocloud).
      type: str
    instance_id:
      description: The instance that it knows.
      type: str
    version:
      description: The version of cloud-init.
      type: str
  sample:
    state: failed
    module: scripts-user
    message: |-
      scripts-user: Runparts: 1 failures (part-001) in 1 attempted commands
      the disk /dev/sdb is missing
    errors:
      - "('scripts-user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))"
    datasource: nocloud
    instance_id: i-564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
    version: 22.4.2
code:
  description: The failure's stable code.
  returned: failure
  type: str
  sample: CUSTOMIZATION_FAILED
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.customization.guest_status import read
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    return AnsibleModule(argument_spec={"fail": {"type": "bool", "default": False}}, supports_check_mode=True)


def run(params: Dict[str, Any]) -> Dict[str, Any]:
    found = read()
    if params["fail"] and found["state"] == "failed":
        raise OpenNGTError("CUSTOMIZATION_FAILED", found["message"], {"cloud_init": found})
    return {"changed": False, "cloud_init": found}


def main() -> None:
    module = define_module()
    try:
        result = run(module.params)
    except OpenNGTError as error:
        fail(module, error, **error.details)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
