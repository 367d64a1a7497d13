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
  - Returns the last result of each health check, or runs the checks now.
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
    type: bool
    default: false
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
  failed_when: health.checks | default([]) | selectattr('state', 'eq', 'FAIL') | list | length > 0
"""

RETURN = r"""
checks:
  description: One result for each check.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The check's name.
      type: str
    state:
      description: C(PASS), C(INFO), C(WARN) or C(FAIL).
      type: str
    message:
      description: The result in one sentence.
      type: str
    items:
      description: What the result is about, one entry for each VM.
      type: list
      elements: dict
    checked_at:
      description: When the check ran.
      type: str
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
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    spec = service_spec(checks={"type": "list", "elements": "str"}, run={"type": "bool", "default": False})
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    wanted = params["checks"]
    with client_of(params) as client:
        results = client.run_health(wanted or ()) if params["run"] and not check_mode else client.health()
    known = [result["name"] for result in results]
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise OpenNGTError(
            "INVALID_INPUT", f"checks names {', '.join(unknown)}; the service has {', '.join(known)}", {"known": known}
        )
    return {"changed": False, "checks": [result for result in results if not wanted or result["name"] in wanted]}


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
