# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: iso_info
short_description: Read a guest tools ISO and verify it
version_added: 0.1.0
author:
  - openngt contributors (@openngt)
description:
  - Reads the label, the manifest, the configuration and the certificate of a tools ISO, hashes each of its files, and
    tells all that is wrong with it.
  - Reads only. The private key on the ISO is compared with the certificate and is not in the result.
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
      - The ISO file.
    type: path
    required: true
  ca_sha256:
    description:
      - Fingerprint of the CA that must have signed the ISO, as C(ca_sha256) of M(openngt.guest_tools.ca).
      - If not set, the CA certificate on the ISO itself is believed; then RV(iso.verified) means that the ISO is whole
        and consistent, not who made it.
    type: str
notes:
  - A file that is no ISO 9660 volume is a failure with the code C(DISC_INVALID); any other defect is one of
    RV(iso.problems).
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
seealso:
  - module: openngt.guest_tools.iso
"""

EXAMPLES = r"""
- name: Read an ISO
  openngt.guest_tools.iso_info:
    path: /srv/isos/web1.iso
    ca_sha256: "{{ ca.ca.ca_sha256 }}"
  register: read

- name: Stop unless it is whole and ours
  ansible.builtin.assert:
    that: read.iso.verified
    fail_msg: "{{ read.iso.problems | join(', ') }}"
"""

RETURN = r"""
iso:
  description: What stands on the ISO.
  returned: success
  type: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /srv/isos/web1.iso
    label:
      description: Volume label.
      type: str
      sample: NUTANIX_TOOLS
    manifest:
      description: The manifest, or null if it is missing or damaged. Its list of files is RV(iso.files).
      type: dict
      contains:
        vm_uuid:
          description: The VM that the ISO is for.
          type: str
        ngt_uuid:
          description: UUID under which guest tools know the VM.
          type: str
        cluster_uuid:
          description: The cluster that agents connect to.
          type: str
        generation:
          description: Counts the VM's certificates.
          type: int
        kind:
          description: V(tools) or V(config).
          type: str
        ngt_version:
          description: Version of the guest tools.
          type: str
        created:
          description: When the ISO was made, RFC 3339, UTC.
          type: str
        expires:
          description: Until when it is good, RFC 3339, UTC.
          type: str
        ca_sha256:
          description: Fingerprint of the CA.
          type: str
        sha256:
          description: Digest of the manifest, for which the certificate vouches.
          type: str
    config:
      description: The content of C(config/ngt_config.json), or null if it is missing or damaged.
      type: dict
    certificate:
      description:
        - The certificate, as RV(openngt.guest_tools.certificate_info#module:certificate), or null if it is missing or
          damaged.
      type: dict
    files:
      description: All that the manifest names or the ISO holds, sorted by path.
      type: list
      elements: dict
      contains:
        path:
          description: Path on the ISO.
          type: str
        size:
          description: Size in bytes without padding, or null if the file is missing.
          type: int
        sha256:
          description: SHA-256 of the content, or null if the manifest does not name the file or it is missing.
          type: str
        mode:
          description: Permissions as the ISO has them.
          type: str
        state:
          description: V(ok), V(altered), V(missing), or V(unlisted) for what the manifest does not name.
          type: str
    verified:
      description: Whether there is no problem.
      type: bool
    problems:
      description: All that is wrong, in words.
      type: list
      elements: str
      sample: [manifest.json has expired]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.effects import now
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.iso.inspect import inspect_iso, iso_facts

SPEC: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "ca_sha256": {"type": "str"},
}


def run(module: AnsibleModule) -> dict[str, Any]:
    path, time = module.params["path"], now()
    report = inspect_iso(Path(path), now=time, ca_sha256=module.params["ca_sha256"])
    return {"changed": False, "iso": {"path": path, **iso_facts(report, time)}}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except OpenNGTError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
