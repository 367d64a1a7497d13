# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Install the agent in a guest from its tools disc, or remove it."""

DOCUMENTATION = r"""
module: agent
short_description: Install the agent from a tools disc, or remove it
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Has the agent of the wanted version installed, running and connected in this guest, or gone without a trace.
  - The installer travels with this module. It verifies the disc against the CA and this VM's UUID before a byte of it
    is used; nothing on the disc is started.
  - A guest whose agent is well is left alone, and needs no disc.
  - Needs no service. The disc may come from M(openngt.guest_tools.mount) or M(openngt.guest_tools.iso).
extends_documentation_fragment:
  - openngt.guest_tools.attributes
attributes:
  check_mode:
    support: full
    details:
      - Needs no disc; what is on it is judged in the real run only.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
  action:
    description: Has an action plugin, which says every now and then that an installation goes on.
    support: full
options:
  state:
    description:
      - V(present) installs or upgrades, V(absent) removes the agent, also one that is broken.
    type: str
    choices: [present, absent]
    default: present
  version:
    description:
      - Version that must run. By default the one that this collection carries.
    type: str
  source:
    description:
      - Folder of a mounted tools disc. By default the disc is found in the CD-ROM drives by its manifest, mounted at
        O(mount_point) and unmounted afterwards, also after a failure.
    type: path
  label:
    description:
      - Label of the tools disc; drives with this label are looked into first.
    type: str
    default: NUTANIX_TOOLS
  ca_sha256:
    description:
      - Fingerprint of the CA that the disc must be signed by.
      - Without it, the CA that the disc names is trusted on first use, and the result warns.
    type: str
  generation:
    description:
      - Generation of the identity that the agent must have at least, as M(openngt.guest_tools.mount) returns it for the
        disc. An agent that runs with an older one takes the disc's.
      - By default any will do.
    type: int
    default: 0
  mount_point:
    description:
      - Where the disc is mounted meanwhile.
    type: path
    default: /mnt/nutanix/ngt
  wait_seconds:
    description:
      - How long the agent has to connect and take its long-lived identity.
      - V(0) asks for a running agent only, connected or not, as is right before there is a service.
    type: float
    default: 60.0
  allow_unsupported_distribution:
    description:
      - Install on a distribution outside the support table.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.prerequisites
  - module: openngt.guest_tools.mount
"""

EXAMPLES = r"""
- name: Install from the disc in the drive
  openngt.guest_tools.agent:
    ca_sha256: "{{ tools.mount.ca_sha256 }}"
  become: true

- name: Remove the agent
  openngt.guest_tools.agent:
    state: absent
  become: true
"""

RETURN = r"""
agent:
  description: The agent as C(ngtcli status) shows it; C(null) when none is installed.
  returned: success
  type: dict
  sample:
    agent_version: 0.1.0
    service: {unit: ngt_guest_agent.service, active: active, sub: running}
    link: {active: true, transport: serial}
steps:
  description: What the installer did; empty when nothing was to be done, and in check mode.
  returned: success
  type: list
  elements: raw
operation:
  description: What had to be done, C(none), C(install) or C(uninstall).
  returned: success
  type: str
  sample: install
reason:
  description: Why something is to be done, or not.
  returned: success
  type: str
  sample: version 0.0.9 is installed, 0.1.0 is wanted
code:
  description: The failure's stable code, for example C(DISC_NOT_FOUND) or C(DISC_OF_ANOTHER_VM).
  returned: failure
  type: str
  sample: DISC_NOT_FOUND
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

import contextlib
import os
from typing import Any, Callable, Dict, Iterator

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.failure import fail
from ..module_utils.openngt.agent_bundle import build_zipapp
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install import agent_plan, agent_steps
from ..module_utils.openngt.install.disc import mounted_disc
from ..module_utils.openngt.install.facts import vm_uuid
from ..module_utils.openngt.version import __version__

Warn = Callable[[str], None]


def define_module() -> AnsibleModule:
    spec = {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "version": {"type": "str"},
        "source": {"type": "path"},
        "label": {"type": "str", "default": "NUTANIX_TOOLS"},
        "ca_sha256": {"type": "str"},
        "generation": {"type": "int", "default": 0},
        "mount_point": {"type": "path", "default": "/mnt/nutanix/ngt"},
        "wait_seconds": {"type": "float", "default": 60.0},
        "allow_unsupported_distribution": {"type": "bool", "default": False},
    }
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: Dict[str, Any], check_mode: bool, warn: Warn) -> Dict[str, Any]:
    """Plan, apply unless `check_mode`, and the module's result."""
    wanted = agent_plan.Wanted(
        present=params["state"] == "present",
        version=params["version"] or __version__,
        ca_sha256=params["ca_sha256"],
        linked=params["wait_seconds"] > 0,
        generation=params["generation"],
    )
    observed = agent_steps.observe(wanted)
    plan = agent_plan.plan(observed, wanted)
    steps = []
    if plan.operation != "none" and not check_mode:
        steps = apply(plan.operation, params, warn)
        observed = agent_steps.observe(wanted, settle=False)
    return {
        "changed": plan.operation != "none",
        "agent": observed.status,
        "steps": steps,
        "operation": plan.operation,
        "reason": plan.reason,
        "diff": {"before": plan.before, "after": plan.after},
    }


def apply(operation: str, params: Dict[str, Any], warn: Warn) -> Any:
    """Carry an operation of the plan out; the installer's steps."""
    if os.geteuid() != 0:
        raise OpenNGTError("PERMISSION_DENIED", "to {0} the agent needs root".format(operation))
    with agent_steps.private_zipapp(build_zipapp()) as zipapp:
        if operation == "uninstall":
            return agent_steps.call_zipapp(zipapp, ["uninstall"]).get("steps", [])
        if not params["ca_sha256"]:
            warn("no ca_sha256 is given: the CA that the disc names is trusted on first use")
        with folder_of_disc(params, warn) as folder:
            arguments = agent_steps.install_arguments(
                folder, params["ca_sha256"], params["wait_seconds"], params["allow_unsupported_distribution"]
            )
            return agent_steps.call_zipapp(zipapp, arguments, params["wait_seconds"]).get("steps", [])


@contextlib.contextmanager
def folder_of_disc(params: Dict[str, Any], warn: Warn) -> Iterator[str]:
    if params["source"]:
        yield params["source"]
        return
    with mounted_disc(params["label"], params["mount_point"], vm_uuid(), warn) as folder:
        yield folder


def main() -> None:
    module = define_module()
    try:
        result = run(module.params, module.check_mode, module.warn)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
