# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_info
short_description: Read what a certificate says
version_added: 0.1.0
author:
  - openngt contributors (@openngt)
description:
  - Describes the first certificate of a PEM file or text, such as C(client.pem), C(ca.pem), or the identity that an
    agent stores.
  - Reads only. It does not check who signed the certificate; that is what C(openssl verify) and the service do.
requirements:
  - cryptography >= 42 on the host that runs the module
extends_documentation_fragment:
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
attributes:
  platform:
    support: full
    platforms: posix
options:
  path:
    description:
      - PEM file that holds the certificate. Keys and further certificates in it are skipped.
    type: path
  content:
    description:
      - The PEM text itself. It is not logged, as it may hold a private key.
    type: str
notes:
  - One of O(path) and O(content) must be given.
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
seealso:
  - module: openngt.guest_tools.certificate
"""

EXAMPLES = r"""
- name: Read a VM's certificate
  openngt.guest_tools.certificate_info:
    path: /etc/openngt/certificates/web1.pem
  register: read

- name: Stop when it is about to expire
  ansible.builtin.assert:
    that: read.certificate.expiry in ["PASS", "INFO"]
    fail_msg: "{{ read.certificate.days_left }} days left"
"""

RETURN = r"""
certificate:
  description: What the certificate says.
  returned: success
  type: dict
  contains:
    serial:
      description: Serial number in lower-case hexadecimal.
      type: str
      sample: 1e5a130f9e70faece1a6d51aa125bdd5aabbf5dd
    vm_uuid:
      description: The VM that the certificate names, or null if it is not a VM's.
      type: str
      sample: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    ngt_uuid:
      description: UUID under which guest tools know the VM, or null if it is not a VM's.
      type: str
      sample: 0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c
    generation:
      description: Counts the VM's certificates; an agent never goes back to a lower one, or null if it is not a VM's.
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
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.effects import file_errors, now
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.pki.inspect import certificate_facts, inspect_certificate

SPEC: dict[str, dict[str, Any]] = {"path": {"type": "path"}, "content": {"type": "str", "no_log": True}}


def run(path: str | None, content: str | None) -> dict[str, Any]:
    if path is None:
        pem = (content or "").encode()
    else:
        with file_errors(path):
            pem = Path(path).read_bytes()
    return {"changed": False, "certificate": certificate_facts(inspect_certificate(pem), now())}


def main() -> None:
    module = AnsibleModule(
        argument_spec=SPEC,
        mutually_exclusive=[("path", "content")],
        required_one_of=[("path", "content")],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(**module.params))
    except OpenNGTError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
