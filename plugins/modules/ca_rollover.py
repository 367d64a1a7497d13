# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let another CA follow the service's, step by step."""

DOCUMENTATION = r"""
module: ca_rollover
short_description: Let another CA follow the service's, without losing an agent
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Takes one step of a CA's rollover, or looks how far it is. V(prepare) makes the next CA, while the old one goes on
    signing. V(activate) lets the next one sign. V(retire) ends the trust in the old one and destroys its key.
  - Between the steps the agents named in RV(vms_behind) are refreshed, with M(openngt.guest_tools.refresh); the
    playbook C(openngt.guest_tools.ca_rollover) does it all.
  - A step that was taken already changes nothing. One that agents are not ready for fails with their names.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Fails where the step would be refused now.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  step:
    description:
      - The step; V(status) only looks.
      - V(abort) gives up a CA that is prepared and does not sign yet.
      - All but V(status) want an admin's token.
    type: str
    choices: [status, prepare, activate, retire, abort]
    default: status
  replaces:
    description:
      - SHA-256 of the CA that V(prepare) shall let another follow, as C(openngt ca show) has it. Once another CA signs,
        nothing is done.
      - Without it V(prepare) waits until half of the CA's life is over.
    type: str
  force:
    description:
      - V(activate) and V(retire) go on without the VMs that are not ready. Those that V(retire) leaves behind come back
        by a disc only.
      - V(prepare) does not wait until it is due. It then begins a rollover at each run.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.refresh
  - module: openngt.guest_tools.health_info
"""

EXAMPLES = r"""
- name: See how far it is
  openngt.guest_tools.ca_rollover:
  delegate_to: localhost
  run_once: true
  register: rollover

- name: Make the next CA, now
  openngt.guest_tools.ca_rollover:
    step: prepare
    replaces: "{{ rollover.rollover.signing.ca_sha256 }}"
  delegate_to: localhost
  run_once: true

- name: Keep what clients of the API have to trust
  ansible.builtin.copy:
    content: "{{ rollover.ca_pem }}"
    dest: ca.pem
    mode: "0644"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
rollover:
  description:
    - How far it is. C(phase) is V(none), V(prepared) or V(activated); C(signing), C(next) and C(old) are CAs or null;
      C(advice) says what it is time for.
  returned: success
  type: dict
  sample:
    phase: prepared
    since: "2031-06-01T08:00:00Z"
    signing:
      ca_sha256: 8c1f0e
      not_before: "2026-05-31T08:00:00Z"
      not_after: "2036-06-01T08:00:00Z"
    next:
      ca_sha256: 5b77e0
      not_before: "2031-05-31T08:00:00Z"
      not_after: "2041-06-01T08:00:00Z"
    old: null
    advice: null
reason:
  description: What the step has done or would do, or why there is nothing to do.
  returned: success
  type: str
vms_behind:
  description:
    - The VMs that the next step waits for, or that a forced V(retire) has left behind; why, and what to do.
  returned: success
  type: list
  elements: dict
  sample:
    - vm_name: web1
      vm_uuid: 5dafd6d6-065b-4b1a-b567-491f4d6b35b3
      linked: true
      message: its agent does not hold the next CA yet
      remedy: openngt refresh run web1
ca_pem:
  description: Every CA that clients of the API have to trust now (O(ca_file)); two while one follows the other.
  returned: success
  type: str
code:
  description: The failure's stable code, for example C(CA_ROLLOVER_BLOCKED).
  returned: failure
  type: str
  sample: CA_ROLLOVER_BLOCKED
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure; C(vms) has the VMs that are not ready.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.rolling_over import roll_over


def define_module() -> AnsibleModule:
    spec = service_spec(
        step={
            "type": "str",
            "choices": ["status", "prepare", "activate", "retire", "abort"],
            "default": "status",
        },
        replaces={"type": "str"},
        force={"type": "bool", "default": False},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def main() -> None:
    module = define_module()
    options = {name: module.params[name] for name in ("step", "force", "replaces")}
    try:
        with client_of(module.params) as client:
            result = roll_over(client, check=module.check_mode, **options)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
