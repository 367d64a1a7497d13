# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the agent in many guests at once. The code is the action plugin's: logins never leave the controller."""

DOCUMENTATION = r"""
module: fleet_install
short_description: Install the agent in many guests at once and prove their links
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Does for each guest what the role P(openngt.guest_tools.guest_agent#role) does, in one process and over one
    connection to each guest. The VM is enrolled, the guest checked, the VM's own tools ISO mounted, the agent installed
    from it, the link proven from both sides, and the ISO ejected, also after a failure.
  - Nothing but the enrolment is changed in front of an unmet prerequisite. A guest whose agent is well is left alone.
  - One bad guest does not stop the others. Each has a row in RV(rows) with the phase that it reached, a code and a
    remedy; the task fails at the end if any guest is not as it was asked for.
  - Guests come from the play's inventory, whose connection variables are honoured, or from a list of credentials.
    What cannot be honoured is named and is that guest's failure.
  - Host keys and certificates are verified.
  - A run that is interrupted or killed is continued by the next one with the same guests, by its journal.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Connects to the guests and looks. Changes nothing, neither there nor at the service.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
  action:
    description:
      - Is an action plugin. It runs in the process of Ansible on the controller, so that no login is written to a file
        or to the arguments of a module.
    support: full
options:
  hosts:
    description:
      - Hosts of the inventory to install in. The variable C(openngt_vm) names a host's VM, by UUID or its name on the
        hypervisor; by default it is the host's name.
      - By default those of the play's batch when the task has C(run_once), otherwise the host of the task.
      - Their variables count as the inventory and C(-e) have them; C(vars) of a play do not. Delegate the task to
        C(localhost), or Ansible itself fails it for bad variables of the first host.
    type: list
    elements: str
  credentials:
    description:
      - A list of guests with their logins instead of O(hosts), as a list or as JSON text. Best a vaulted variable.
    type: raw
  credentials_file:
    description:
      - The same as a file of the controller, which must be the caller's own and 0600.
    type: path
  only:
    description:
      - Of a list, only the guests with these names or UUIDs; the others are left alone.
    type: list
    elements: str
  max_in_flight:
    description:
      - How many guests at a time.
    type: int
    default: 20
  host_seconds:
    description:
      - What one guest may take in all. Cleaning up comes on top.
    type: float
    default: 900.0
  wait_seconds:
    description:
      - How long an agent may take to connect and get its long-lived identity.
    type: float
    default: 90.0
  lease_seconds:
    description:
      - After this time the service ejects a tools ISO by itself, whatever became of this run.
    type: int
    default: 1800
  trust_new_host_keys:
    description:
      - Trust the key of a host, or the certificate of a Windows guest, that was never seen before, and record it. One
        that has changed is refused all the same.
    type: bool
    default: false
  capabilities:
    description:
      - What the agents may be used for; what is not named stays as it is.
    type: dict
    suboptions:
      vss_snapshot:
        description: Application-consistent snapshots.
        type: bool
      self_service_restore:
        description: Users of the guest may restore their files.
        type: bool
  install_prerequisites:
    description:
      - Have the package manager of a guest bring Python and tar where they are missing.
    type: bool
    default: false
  allow_unsupported_distribution:
    description:
      - Go on with a distribution outside the support table.
    type: bool
    default: false
  minimum_free_mb:
    description:
      - Free space in MB that the file systems of C(/usr/local) and C(/tmp) must have.
    type: int
    default: 550
  label:
    description:
      - Label of the tools disc, if the service makes it with another one.
    type: str
    default: NUTANIX_TOOLS
  mount_point:
    description:
      - Where a guest has its tools disc mounted meanwhile.
    type: str
    default: /mnt/nutanix/ngt
  gateway_host:
    description:
      - Address of the service's gateway as the guests see it, tried by each. Not reaching it is a warning only.
    type: str
  gateway_port:
    description:
      - Port of the gateway.
    type: int
    default: 2074
  journal:
    description:
      - Folder of the run's journal. By default one below C($XDG_STATE_HOME/openngt/fleet) that is the same for the same
        guests and the same service.
    type: path
  resume:
    description:
      - Continue an interrupted run that has the same journal.
    type: bool
    default: true
  reconnect:
    description:
      - When a run is continued, also connect again to the guests that it had finished. Otherwise the service is asked
        whether their links are still proven.
    type: bool
    default: false
  limit_file:
    description:
      - File for the names of the guests that need another run, one a line, for C(--limit @file). By default C(limit) in
        the journal's folder.
    type: path
seealso:
  - module: openngt.guest_tools.agent
  - module: openngt.guest_tools.prerequisites
"""

EXAMPLES = r"""
- name: Install in all hosts of the play at once
  openngt.guest_tools.fleet_install:
    max_in_flight: 40
  delegate_to: localhost
  run_once: true

- name: Say what each would need
  openngt.guest_tools.fleet_install:
  delegate_to: localhost
  run_once: true
  check_mode: true

- name: Install by a list of credentials
  openngt.guest_tools.fleet_install:
    credentials: "{{ vaulted_credentials }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
rows:
  description: A row for each guest, also after a failure.
  returned: always but for a request that makes no sense
  type: list
  elements: dict
  contains:
    name:
      description: The host of the inventory, or the guest of the list.
      type: str
    vm:
      description: The VM as it was named.
      type: str
    vm_uuid:
      description: UUID of the VM; C(null) where it was not found.
      type: str
    vm_name:
      description: Its name on the hypervisor.
      type: str
    state:
      description: V(installed), V(unchanged), V(failed), V(not_begun), or in check mode V(would_install).
      type: str
    phase:
      description:
        - The last phase that was begun, of a failed row the one that failed. V(enrol), V(connect), V(prerequisites),
          V(mount), V(install), V(prove) or V(clean_up).
      type: str
    changed:
      description: Whether anything was changed, or would be.
      type: bool
    code:
      description: Why it failed.
      type: str
    message:
      description: The same for people; otherwise how the agent is.
      type: str
    remedy:
      description: What to do about the failure.
      type: str
    details:
      description: Values that belong to the failure. Of C(LINK_NOT_ACTIVE) what the service and the guest saw.
      type: dict
    diff:
      description: C(before) and C(after) of what was changed.
      type: dict
    seconds:
      description: What each phase took.
      type: dict
    resumed:
      description: Whether the interrupted run before this one had done it already.
      type: bool
summary:
  description: Counts by state, and the failures by code with their remedy and the names of their guests.
  returned: with RV(rows)
  type: dict
  sample:
    counts: {installed: 498, failed: 2}
    failures: {GUEST_LOGIN_FAILED: {remedy: correct user or password, names: [web7, db3]}}
    seconds: 311.2
limit_file:
  description: File with the names that need another run; C(null) when none does.
  returned: with RV(rows)
  type: str
journal:
  description: Folder of the journal; C(null) in check mode.
  returned: with RV(rows)
  type: str
interrupted:
  description: Whether the run was ended before its time.
  returned: with RV(rows)
  type: bool
code:
  description: The failure's stable code; the one guest's own, or C(TASK_FAILED).
  returned: failure
  type: str
  sample: TASK_FAILED
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""
