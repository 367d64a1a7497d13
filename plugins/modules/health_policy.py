# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set how a health check of the service judges and alerts."""

DOCUMENTATION = r"""
module: health_policy
short_description: Set the policy of a health check
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Turns a health check of the service on or off, sets its thresholds, and the state from which on it alerts.
  - What is not given stays as it is. When something changed, the check is run by it at once.
  - Needs a token of an administrator.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - The service itself judges the values, and refuses what it would refuse.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  check:
    description:
      - Name of the check, for example V(ngt_client_cert_expiry_check). C(openngt health checks) lists them.
    type: str
    required: true
  enabled:
    description:
      - Whether the check is run. One that is turned off shows as C(OFF), and its open alerts are resolved.
    type: bool
  alert_from:
    description:
      - The state from which on the check raises alerts.
    type: str
    choices: [INFO, WARN, FAIL]
  thresholds:
    description:
      - Whole numbers by the names that the check has for them; those that are not named stay as they are.
      - V(null), or V(default), takes the default again.
      - A number out of its limits, or one that has to be smaller than another, is an error that says so.
    type: dict
seealso:
  - module: openngt.guest_tools.health_info
"""

EXAMPLES = r"""
- name: Speak of certificates earlier
  openngt.guest_tools.health_policy:
    check: ngt_client_cert_expiry_check
    thresholds:
      info_days: 120
      warn_days: 60
  delegate_to: localhost
  run_once: true

- name: Alert for each agent that is older than the ISO's
  openngt.guest_tools.health_policy:
    check: ngt_installer_version_check
    alert_from: INFO
  delegate_to: localhost
  run_once: true

- name: Take the default again
  openngt.guest_tools.health_policy:
    check: ngt_client_cert_expiry_check
    thresholds:
      info_days: default
      warn_days: default
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
check:
  description: The check as it is set now; in check mode as it would be.
  returned: success
  type: dict
  sample:
    name: ngt_client_cert_expiry_check
    enabled: true
    alert_from: FAIL
    thresholds:
      - {name: info_days, value: 120, default: 90, minimum: 1, maximum: 3650, means: INFO from so many days before}
    updated: "2026-11-21T07:00:00Z"
    updated_by: admin
code:
  description: The failure's stable code, for example C(INVALID_INPUT), C(NOT_FOUND) or C(FORBIDDEN).
  returned: failure
  type: str
  sample: INVALID_INPUT
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure; C(allowed) has what would be taken.
  returned: failure
  type: dict
"""

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    spec = service_spec(
        check={"type": "str", "required": True},
        enabled={"type": "bool"},
        alert_from={"type": "str", "choices": ["INFO", "WARN", "FAIL"]},
        thresholds={"type": "dict"},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def number_of(name: str, value: Any) -> Optional[int]:
    """A threshold as a play has it, where templates make text of numbers; None takes the default again."""
    if value is None or value == "default":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError("no number")
        return int(str(value))
    except ValueError:
        message = f"thresholds.{name}: give a whole number, or default"
        raise OpenNGTError("INVALID_INPUT", message, {"field": f"thresholds.{name}"}) from None


def policy_of(check: dict[str, Any]) -> dict[str, Any]:
    """What of a check can be set."""
    thresholds = {threshold["name"]: threshold["value"] for threshold in check["thresholds"]}
    return {"enabled": check["enabled"], "alert_from": check["alert_from"], "thresholds": thresholds}


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless `check_mode`, and the module's result."""
    thresholds = {name: number_of(name, value) for name, value in (params["thresholds"] or {}).items()}
    wanted = {"enabled": params["enabled"], "alert_from": params["alert_from"], "thresholds": thresholds}
    with client_of(params) as client:
        planned = client.set_health_check(params["check"], check_only=True, **wanted)
        [now] = [check for check in client.health_checks() if check["name"] == planned["name"]]
        before, after = policy_of(now), policy_of(planned)
        if before != after and not check_mode:
            planned = client.set_health_check(params["check"], **wanted)
    return {"changed": before != after, "check": planned, "diff": {"before": before, "after": after}}


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
