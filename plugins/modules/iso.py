# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: iso
short_description: Make the guest tools ISO of one VM from a CA folder
version_added: 0.1.0
author:
  - openngt contributors (@openngt)
description:
  - Sees to it that a file is the tools ISO of one VM, with the agent, its installer, the VM's configuration, and a
    certificate signed by a CA that M(openngt.guest_tools.ca) created. No service is needed; attach the ISO to the VM by
    whatever means the hypervisor has, and install with M(openngt.guest_tools.agent) or by hand.
  - It makes the ISO again when the file is missing, damaged or altered, is for another VM, comes from another CA, has
    another configuration, label or payload, was revoked or is not in the CA's issue log, or expires within
    O(threshold_hours). RV(reason) and the diff say which.
  - Each certificate is on disk in the issue log before the ISO appears, and the ISO appears complete or not at all.
    What a killed run left is put right by the next.
requirements:
  - cryptography >= 42 on the host that runs the module
  - pycdlib >= 1.14 on the host that runs the module
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
      - The ISO file. It holds the VM's private key and has mode 0600.
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
      - Name of the VM, for its configuration and the issue log.
      - If not set, the UUID stands for it.
    type: str
  ngt_uuid:
    description:
      - UUID under which guest tools know the VM.
      - If not set, the one that was issued last for this VM, else one that follows from the CA and O(vm_uuid).
    type: str
  ca_path:
    description:
      - Folder of the CA. A folder C(templates) in it caches the part that all ISOs share; it may be deleted any time.
      - Required with O(state=present).
    type: path
  ca_passphrase:
    description:
      - Opens the CA's key if it is encrypted. Used only when an ISO is made.
    type: str
  cluster_uuid:
    description:
      - UUID of the cluster, that is of the service that agents connect to or that will adopt the CA. Agents accept only
        a gateway that proves the name C(guest-tools.<cluster_uuid>).
      - Required with O(state=present).
    type: str
  cluster_ip:
    description:
      - Address or host name at which agents find the service.
      - Required with O(state=present).
    type: str
  port:
    description:
      - Port of the service's gateway.
    type: int
    default: 2074
  bootstrap_hours:
    description:
      - How long the ISO and its certificate are valid. An installed agent is given a long-lived identity by the
        service; whoever can read the VM's CD-ROM drive can read the ISO's key, so keep it short.
      - V(0) makes it valid for 1000 days, for use without a service.
      - Not compared with an existing ISO.
    type: int
    default: 24
  threshold_hours:
    description:
      - Make the ISO again when it expires within so many hours.
      - Must be less than O(bootstrap_hours), unless that is V(0).
    type: int
    default: 1
  label:
    description:
      - Volume label, 1 to 16 characters out of A-Z, 0-9 and the underscore.
    type: str
    default: NUTANIX_TOOLS
  extras:
    description:
      - Folder whose files go onto the ISO below C(extras/). It may hold folders and regular files, no links or devices.
    type: path
  windows_python:
    description:
      - Python for a Windows guest, which the ISO carries as C(extras/windows/python.zip).
      - The file of python.org's I(Windows embeddable package), Python 3.8 or newer. Without it no agent can be
        installed in a Windows guest from this ISO.
    type: path
  config_only:
    description:
      - Make an ISO with configuration and certificate alone, for a guest that has an agent.
    type: bool
    default: false
  state:
    description:
      - With V(absent) the file is deleted. A file that is no tools ISO of this VM is left alone, and is an error.
      - Its certificate stays valid, as an agent may have been installed with it; M(openngt.guest_tools.certificate)
        revokes.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Runs on the controller; in a play against guests use C(delegate_to=localhost).
  - The private key is in the file and nowhere else, neither in the result nor in the diff.
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
seealso:
  - module: openngt.guest_tools.ca
  - module: openngt.guest_tools.iso_info
  - module: openngt.guest_tools.agent
"""

EXAMPLES = r"""
- name: Make an ISO for each VM of the play
  openngt.guest_tools.iso:
    path: "{{ playbook_dir }}/isos/{{ inventory_hostname }}.iso"
    ca_path: "{{ playbook_dir }}/ca"
    vm_uuid: "{{ openngt_vm }}"
    vm_name: "{{ inventory_hostname }}"
    cluster_uuid: c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42
    cluster_ip: 192.0.2.10
  delegate_to: localhost

- name: Make one that holds for long and carries more tools
  openngt.guest_tools.iso:
    path: /srv/isos/web1.iso
    ca_path: /etc/openngt/ca
    ca_passphrase: "{{ ca_passphrase }}"
    vm_uuid: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    cluster_uuid: c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42
    cluster_ip: tools.example.com
    bootstrap_hours: 0
    extras: /srv/extras

- name: Delete it after the installation
  openngt.guest_tools.iso:
    path: /srv/isos/web1.iso
    vm_uuid: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    state: absent
"""

RETURN = r"""
iso:
  description:
    - The ISO. Where it is only planned, in check mode, what its making will tell is null.
    - Null with O(state=absent).
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
    sha256:
      description: SHA-256 of the whole file in lower-case hexadecimal.
      type: str
      sample: 5a1ff2e2b9d0ab5cd37ba1e0c29d6c76b6e0a1f2b1f3c7de5ac4adcbd3b6fe0e
    kind:
      description: V(tools), or V(config) for a config-only ISO.
      type: str
      sample: tools
    vm_uuid:
      description: The VM that it is for.
      type: str
      sample: 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21
    vm_name:
      description: Name of the VM.
      type: str
      sample: web1
    ngt_uuid:
      description: UUID under which guest tools know the VM.
      type: str
      sample: 0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c
    cluster_uuid:
      description: The cluster that agents connect to.
      type: str
      sample: c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42
    cluster_ip:
      description: Where agents find it.
      type: str
      sample: 192.0.2.10
    port:
      description: Port of its gateway.
      type: int
      sample: 2074
    generation:
      description: Counts the VM's certificates; an agent never goes back to a lower one.
      type: int
      sample: 3
    serial:
      description: Serial number of the certificate in lower-case hexadecimal.
      type: str
      sample: 1e5a130f9e70faece1a6d51aa125bdd5aabbf5dd
    expires:
      description: End of validity, RFC 3339, UTC.
      type: str
      sample: "2026-11-22T07:19:38Z"
    ca_sha256:
      description: Fingerprint of the CA, for the option O(openngt.guest_tools.agent#module:ca_sha256).
      type: str
      sample: 2db009dfbde77720bef0ca86da9d0f7b2265ea4327dd6b3772d262ed223c3c4d
    agent_sha256:
      description: SHA-256 of the agent on the ISO, or null on a config-only one.
      type: str
      sample: 29f3630d0741805b4bc627cb57d0f99cf6071de7a94a3e5ba7b5b109cafbfd84
reason:
  description: Why something was done, or in check mode would be; null if there is nothing to do.
  returned: success
  type: str
  sample: there is no ISO
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.effects import now
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.iso.ensure_iso import IsoOrder, IsoOutcome, ensure_iso, ensure_no_iso
from ..module_utils.openngt.iso.layout import LABEL

SPEC: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "vm_uuid": {"type": "str", "required": True},
    "vm_name": {"type": "str"},
    "ngt_uuid": {"type": "str"},
    "ca_path": {"type": "path"},
    "ca_passphrase": {"type": "str", "no_log": True},
    "cluster_uuid": {"type": "str"},
    "cluster_ip": {"type": "str"},
    "port": {"type": "int", "default": 2074},
    "bootstrap_hours": {"type": "int", "default": 24},
    "threshold_hours": {"type": "int", "default": 1},
    "label": {"type": "str", "default": LABEL},
    "extras": {"type": "path"},
    "windows_python": {"type": "path"},
    "config_only": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
REQUIRED_IF = [("state", "present", ("ca_path", "cluster_uuid", "cluster_ip"))]
PLAIN = (
    "vm_uuid", "vm_name", "ngt_uuid", "cluster_uuid", "cluster_ip", "port", "bootstrap_hours", "threshold_hours",
    "label", "config_only",
)  # fmt: skip


def run(module: AnsibleModule) -> dict[str, Any]:
    outcome = ensure(module.params, check=module.check_mode)
    path = module.params["path"]
    headers = {"before_header": path, "after_header": f"{path} ({outcome.reason})" if outcome.reason else path}
    return {
        "changed": outcome.changed,
        "iso": outcome.iso,
        "reason": outcome.reason,
        "diff": {**outcome.diff, **headers},
    }


def ensure(parameters: dict[str, Any], *, check: bool) -> IsoOutcome:
    path, passphrase, extras = Path(parameters["path"]), parameters["ca_passphrase"], parameters["extras"]
    windows_python = parameters["windows_python"]
    if parameters["state"] == "absent":
        return ensure_no_iso(path, parameters["vm_uuid"], check=check, now=now())
    order = IsoOrder(
        path=path,
        ca_folder=Path(parameters["ca_path"]),
        ca_passphrase=passphrase.encode() if passphrase else None,
        extras=Path(extras) if extras else None,
        windows_python=Path(windows_python) if windows_python else None,
        **{name: parameters[name] for name in PLAIN},
    )
    return ensure_iso(order, check=check, now=now())


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, required_if=REQUIRED_IF, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except OpenNGTError as error:
        fail(module, error)


if __name__ == "__main__":
    main()
