# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: certificate
short_description: Issue the certificate of one VM from a CA folder
version_added: 0.1.0
author:
  - openngt contributors (@openngt)
description:
  - Sees to it that a file holds a certificate by which one VM proves who it is, signed by a CA that
    M(openngt.guest_tools.ca) created. No service is needed.
  - It issues again when the file is missing or damaged, is for another VM, comes from another CA, was revoked, is not
    in the CA's issue log, has another kind of key, or expires within O(threshold_days).
    RV(reason) and the diff say which.
  - Each certificate is on disk in the issue log before its file appears. What a killed run left is put right by the
    next.
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
  ca_path:
    description:
      - Folder of the CA.
    type: path
    required: true
  ca_passphrase:
    description:
      - Opens the CA's key if it is encrypted. Used only when a certificate is issued.
    type: str
  path:
    description:
      - The file, usually called C(client.pem). It holds the private key and the certificate, in this order, with mode
        0600.
      - Its folder must exist.
    type: path
    required: true
  vm_uuid:
    description:
      - UUID of the VM as the hypervisor and the guest's DMI tables give it.
    type: str
    required: true
  vm_name:
    description:
      - Name of the VM, for the issue log. It is not in the certificate.
    type: str
  ngt_uuid:
    description:
      - UUID under which guest tools know the VM.
      - If not set, the one that was issued last for this VM, else one that follows from the CA and O(vm_uuid).
    type: str
  validity_days:
    description:
      - How long a new certificate is valid, from now on.
      - Not compared with an existing certificate.
    type: int
    default: 1000
  threshold_days:
    description:
      - Issue again when the certificate expires within so many days.
      - Must be less than O(validity_days).
    type: int
    default: 45
  key_type:
    description:
      - Kind of the VM's key.
    type: str
    choices: [ecdsa-p256, rsa-2048, rsa-3072, ed25519]
    default: ecdsa-p256
  state:
    description:
      - With V(absent) every certificate that the CA issued for the VM is revoked in the issue log, and the file is
        deleted. A file that is not a certificate of this VM is left alone, and is an error.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Runs on the controller; in a play against guests use C(delegate_to=localhost).
  - The private key is in the file and nowhere else, neither in the result nor in the diff.
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
seealso:
  - module: openngt.guest_tools.ca
  - module: openngt.guest_tools.certificate_info
  - module: openngt.guest_tools.iso
"""

EXAMPLES = r"""
- name: Give each VM of the play a certificate
  openngt.guest_tools.certificate:
    ca_path: "{{ playbook_dir }}/ca"
    path: "{{ playbook_dir }}/certificates/{{ inventory_hostname }}.pem"
    vm_uuid: "{{ openngt_vm }}"
    vm_name: "{{ inventory_hostname }}"
  delegate_to: localhost

- name: Renew what expires within half a year
  openngt.guest_tools.certificate:
    ca_path: /etc/openngt/ca
    ca_passphrase: "{{ ca_passphrase }}"
    path: /etc/openngt/certificates/web1.pem
    vm_uuid: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    threshold_days: 180

- name: Take all certificates of a VM back
  openngt.guest_tools.certificate:
    ca_path: /etc/openngt/ca
    path: /etc/openngt/certificates/web1.pem
    vm_uuid: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    state: absent
"""

RETURN = r"""
certificate:
  description:
    - The certificate in the file. Where it is only planned, in check mode, what its making will tell is null.
    - Null with O(state=absent).
  returned: success
  type: dict
  contains:
    serial:
      description: Serial number in lower-case hexadecimal.
      type: str
      sample: 1e5a130f9e70faece1a6d51aa125bdd5aabbf5dd
    vm_uuid:
      description: The VM that the certificate names.
      type: str
      sample: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    ngt_uuid:
      description: UUID under which guest tools know the VM.
      type: str
      sample: 0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c
    generation:
      description: Counts the VM's certificates; an agent never goes back to a lower one.
      type: int
      sample: 1
    manifest_sha256:
      description: Digest of the manifest that the certificate vouches for, or null if it did not travel on an ISO.
      type: str
      sample: null
    not_before:
      description: Begin of validity, RFC 3339, UTC. A day before the making, for guests whose clock is behind.
      type: str
      sample: "2026-11-20T07:19:38Z"
    not_after:
      description: End of validity, RFC 3339, UTC.
      type: str
      sample: "2029-08-17T07:19:38Z"
    days_left:
      description: Days until then, a begun day counted whole. Zero or less means expired.
      type: int
      sample: 1000
    expiry:
      description: V(PASS) for more than 90 days, V(INFO) for at most 90, V(WARN) for at most 45, V(FAIL) for at most 7.
      type: str
      sample: PASS
    key_type:
      description: Kind of the certified key.
      type: str
      sample: ecdsa-p256
    issuer:
      description: Name of the CA.
      type: str
      sample: openngt CA
    sha256:
      description: SHA-256 of the certificate's DER in lower-case hexadecimal.
      type: str
      sample: 29f3630d0741805b4bc627cb57d0f99cf6071de7a94a3e5ba7b5b109cafbfd84
    is_ca:
      description: Whether it is the certificate of a CA.
      type: bool
      sample: false
    usages:
      description: What it may be used for, as the extended key usage says.
      type: list
      elements: str
      sample: [clientAuth]
reason:
  description: Why something was done, or in check mode would be; null if there is nothing to do.
  returned: success
  type: str
  sample: it expires within 45 days (12 left)
revoked:
  description: Serial numbers that were revoked, or in check mode would be.
  returned: O(state=absent)
  type: list
  elements: str
  sample: [1e5a130f9e70faece1a6d51aa125bdd5aabbf5dd]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.effects import now
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.pki.ensure_certificate import (
    CertificateOrder,
    CertificateOutcome,
    ensure_certificate,
    ensure_no_certificate,
)
from ..module_utils.openngt.pki.key_types import DEFAULT_KEY_TYPE, KEY_TYPES

SPEC: dict[str, dict[str, Any]] = {
    "ca_path": {"type": "path", "required": True},
    "ca_passphrase": {"type": "str", "no_log": True},
    "path": {"type": "path", "required": True},
    "vm_uuid": {"type": "str", "required": True},
    "vm_name": {"type": "str"},
    "ngt_uuid": {"type": "str"},
    "validity_days": {"type": "int", "default": 1000},
    "threshold_days": {"type": "int", "default": 45},
    "key_type": {"type": "str", "choices": list(KEY_TYPES), "default": DEFAULT_KEY_TYPE},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def run(module: AnsibleModule) -> dict[str, Any]:
    outcome = ensure(module.params, check=module.check_mode)
    if outcome.log_torn:
        module.warn("The issue log ended in an incomplete line of a killed run. No certificate belongs to it.")
    result = {"changed": outcome.changed, "certificate": outcome.certificate, "reason": outcome.reason}
    if module.params["state"] == "absent":
        result["revoked"] = list(outcome.revoked)
    path = module.params["path"]
    headers = {"before_header": path, "after_header": f"{path} ({outcome.reason})" if outcome.reason else path}
    return {**result, "diff": {**outcome.diff, **headers}}


def ensure(parameters: dict[str, Any], *, check: bool) -> CertificateOutcome:
    ca_folder, path, vm_uuid = Path(parameters["ca_path"]), Path(parameters["path"]), parameters["vm_uuid"]
    if parameters["state"] == "absent":
        return ensure_no_certificate(ca_folder, path, vm_uuid, check=check, now=now())
    passphrase = parameters["ca_passphrase"]
    order = CertificateOrder(
        ca_folder=ca_folder,
        path=path,
        vm_uuid=vm_uuid,
        ca_passphrase=passphrase.encode() if passphrase else None,
        **{name: parameters[name] for name in ("vm_name", "ngt_uuid", "validity_days", "threshold_days", "key_type")},
    )
    return ensure_certificate(order, check=check, now=now())


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except OpenNGTError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
