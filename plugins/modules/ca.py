# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: ca
short_description: Create a certificate authority for guest tools
version_added: 0.1.0
author:
  - openngt contributors (@openngt)
description:
  - Sees to it that a folder on the controller holds a CA, from which M(openngt.guest_tools.certificate) and
    M(openngt.guest_tools.iso) issue certificates for VMs without a service.
  - A CA is created once and never overwritten, renewed or deleted. A creation that was killed half-way is finished by
    the next run.
  - The folder holds C(ca.pem) (mode 0644), C(ca.key) (mode 0600) and, with the first certificate, the issue log
    C(issued.jsonl), which a service can adopt later.
requirements:
  - cryptography >= 42 on the host that runs the module
extends_documentation_fragment:
  - openngt.guest_tools.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  path:
    description:
      - Folder of the CA. It is created with mode 0700 if it is missing; its parent must exist.
    type: path
    required: true
  common_name:
    description:
      - Name of the CA.
      - A new CA is called V(openngt CA) if this is not set. An existing one of another name is an error.
    type: str
  key_type:
    description:
      - Kind of the CA's key.
      - A new CA gets V(ecdsa-p256) if this is not set. An existing one with another kind of key is an error.
    type: str
    choices: [ecdsa-p256, rsa-2048, rsa-3072, ed25519]
  validity_days:
    description:
      - How long a new CA is valid. No certificate outlives its CA.
      - Not compared with an existing CA.
    type: int
    default: 3650
  passphrase:
    description:
      - Encrypts the key of a new CA, and is tried on the key of an existing one.
    type: str
  state:
    description:
      - The only state of a CA. To be rid of one, delete its folder by hand.
    type: str
    choices: [present]
    default: present
notes:
  - Runs on the controller; in a play against guests use C(delegate_to=localhost) and C(run_once=true).
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
seealso:
  - module: openngt.guest_tools.certificate
  - module: openngt.guest_tools.iso
"""

EXAMPLES = r"""
- name: Create a CA beside the playbook
  openngt.guest_tools.ca:
    path: "{{ playbook_dir }}/ca"
    common_name: Guest tools of the lab

- name: Create a CA whose key is encrypted
  openngt.guest_tools.ca:
    path: /etc/openngt/ca
    key_type: rsa-3072
    passphrase: "{{ ca_passphrase }}"
"""

RETURN = r"""
ca:
  description: The CA. What only its creation tells is null in check mode.
  returned: success
  type: dict
  contains:
    path:
      description: Folder of the CA.
      type: str
      sample: /etc/openngt/ca
    common_name:
      description: Name of the CA.
      type: str
      sample: openngt CA
    ca_sha256:
      description: SHA-256 of the CA certificate's DER in lower-case hexadecimal, by which guests pin the CA.
      type: str
      sample: 29f3630d0741805b4bc627cb57d0f99cf6071de7a94a3e5ba7b5b109cafbfd84
    key_type:
      description: Kind of the key.
      type: str
      sample: ecdsa-p256
    not_after:
      description: End of validity, RFC 3339, UTC.
      type: str
      sample: "2036-11-18T07:19:38Z"
    days_left:
      description: Days until then, a begun day counted whole.
      type: int
      sample: 3650
    expiry:
      description: V(PASS) for more than 90 days, V(INFO) for at most 90, V(WARN) for at most 45, V(FAIL) for at most 7.
      type: str
      sample: PASS
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.effects import now
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.pki.ensure_ca import WantedCa, ensure_ca
from ..module_utils.openngt.pki.key_types import KEY_TYPES

SPEC: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "common_name": {"type": "str"},
    "key_type": {"type": "str", "choices": list(KEY_TYPES)},
    "validity_days": {"type": "int", "default": 3650},
    "passphrase": {"type": "str", "no_log": True},
    "state": {"type": "str", "choices": ["present"], "default": "present"},
}


def run(parameters: dict[str, Any], *, check: bool) -> dict[str, Any]:
    passphrase = parameters["passphrase"]
    wanted = WantedCa(
        folder=Path(parameters["path"]),
        common_name=parameters["common_name"],
        key_type=parameters["key_type"],
        validity_days=parameters["validity_days"],
        passphrase=passphrase.encode() if passphrase else None,
    )
    outcome = ensure_ca(wanted, check=check, now=now())
    return {"changed": outcome.changed, "ca": outcome.ca, "diff": outcome.diff}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(module.params, check=module.check_mode))
    except OpenNGTError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
