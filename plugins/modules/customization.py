# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Customize a VM at its first boot. The code is the action plugin's: passwords never leave the controller but for the
service.
"""

DOCUMENTATION = r"""
module: customization
short_description: Give a VM its name, users, packages, files and network at its first boot
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Hands a script for cloud-init, Sysprep or Cloudbase-Init to the service, or has it built from O(options). The
    service checks it, puts it into an empty CD-ROM drive of the VM, and once the guest is through with it takes the
    disc out and deletes it.
  - Nothing is written when something in it is wrong. Each finding has the line and the key, and the right spelling.
  - The VM must not have booted yet with another O(instance_id), or be a clone of a template that was generalized; the
    role P(openngt.guest_tools.guest_customization#role) does that.
  - A VM that has got the same before is left alone. For another content after it is done, renew O(instance_id), or
    cloud-init will not look at it.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - Has the service check everything, and says what the disc would hold. Fails for what it would not take.
  diff_mode:
    support: full
    details:
      - Shows the files of the disc. Passwords and keys are masked in them by the service.
  platform:
    support: full
    platforms: posix
  action:
    description:
      - Is an action plugin. It runs in the process of Ansible on the controller, so that no password is written to a
        file or to the arguments of a module, and O(scripts[].src) is found as in other tasks.
    support: full
options:
  vm:
    description:
      - UUID or name of the VM.
    type: str
    required: true
  state:
    description:
      - V(present) customizes the VM; V(absent) takes a disc out that still waits, and has the service forget what the
        VM was given. The guest itself is not changed back.
    type: str
    choices: [present, absent]
    default: present
  format:
    description:
      - Who reads it in the guest. V(cloud_init) on Linux, V(sysprep) on Windows, V(cloudbase_init) on Windows with
        Cloudbase-Init.
    type: str
    choices: [cloud_init, sysprep, cloudbase_init]
    default: cloud_init
  scripts:
    description:
      - The user-data, or with O(format=sysprep) the one answer file. Several become one multi-part message.
      - What kind a script is stands in its first line, C(#!), C(#cloud-config), C(#include) and what else cloud-init
        knows.
      - Each has exactly one of C(content), C(content_base64), C(src) and C(datastore_path).
    type: list
    elements: dict
    suboptions:
      content:
        description: The text itself.
        type: str
      content_base64:
        description: Base64 of it, for what is no text. It hides nothing.
        type: str
      src:
        description: A file on the controller, looked for in C(files) of the play or role and beside the inventory.
        type: path
      datastore_path:
        description: A file below the folder that the service's setting C(datastore) names.
        type: str
      name:
        description: What findings and the multi-part message call it. By default the name of the file.
        type: str
  options:
    description:
      - For those who do not want to write a script. What is here becomes one, after those of O(scripts).
      - On Linux C(hostname), C(users), C(ssh_authorized_keys), C(packages), C(runcmd), C(timezone) and more; on Windows
        C(computer_name), C(time_zone), C(administrator_password) and more. The page on customization has them all.
    type: dict
  network:
    description:
      - Network config, version 2 as netplan has it, for static addresses by MAC. By default the guest keeps its own.
    type: dict
  files:
    description:
      - Files to copy into the guest. Each has exactly one of C(content), C(content_base64), C(src) and
        C(datastore_path).
    type: list
    elements: dict
    suboptions:
      path:
        description: Where it goes in the guest, absolute.
        type: str
        required: true
      content:
        description: The text itself.
        type: str
      content_base64:
        description: Base64 of it.
        type: str
      src:
        description: A file on the controller.
        type: path
      datastore_path:
        description: A file below the service's datastore.
        type: str
      mode:
        description: Permissions, in octal and quoted. By default V(0644).
        type: str
      owner:
        description: User and group, as V(root:root), which is the default.
        type: str
  datasource:
    description:
      - How the disc is laid out; V(nocloud) has the label C(cidata), V(config_drive) C(config-2).
    type: str
    choices: [nocloud, config_drive]
    default: nocloud
  install_type:
    description:
      - With O(format=sysprep), V(prepared) is for an image that Sysprep has generalized, V(fresh) for Windows Setup.
    type: str
    choices: [prepared, fresh]
    default: prepared
  instance_id:
    description:
      - By what the guest knows whether it has done this before. By default C(i-) and the VM's UUID.
    type: str
  meta_data:
    description:
      - Further keys of the datasource's meta-data.
    type: dict
  power_on:
    description:
      - Switch the VM on once the disc is in its drive. One that runs already takes it at its next boot.
    type: bool
    default: true
  wait:
    description:
      - Wait until the guest is through with it. Otherwise the module returns when the disc is in its drive.
    type: bool
    default: true
  wait_seconds:
    description:
      - How long the guest may take, from the disc on. Then the service takes it out, whatever became of the guest.
    type: int
    default: 1800
seealso:
  - module: openngt.guest_tools.customization_info
  - module: openngt.guest_tools.cloud_init_info
  - module: openngt.guest_tools.power
"""

EXAMPLES = r"""
- name: Give a clone its name and the key of its administrator, and start it
  openngt.guest_tools.customization:
    vm: web1
    options:
      hostname: web1
      users:
        - name: admin
          sudo: "ALL=(ALL) NOPASSWD:ALL"
          ssh_authorized_keys:
            - "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mRzzTTbAdR3pMTxGoWOrgfVWNvUJOjJVOvOgMzbTz admin"
    wait: false
  delegate_to: localhost

- name: A script of your own, and a file beside it, with the VM left off
  openngt.guest_tools.customization:
    vm: db1
    scripts:
      - content: |
          #!/bin/sh
          systemctl enable --now postgresql
    files:
      - path: /etc/motd
        content: "This is db1\n"
    power_on: false
    wait: false
  delegate_to: localhost

- name: Think better of it
  openngt.guest_tools.customization:
    vm: db1
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
customization:
  description:
    - How far the VM is with it, a row as in RV(openngt.guest_tools.customization_info#module:customizations). C(null)
      where it has none.
  returned: success
  type: dict
findings:
  description:
    - A line for each thing that will not do what it seems to, with place, key and remedy. After
      C(CUSTOMIZATION_INVALID) they are in RV(details) as well.
  returned: always but for a request that makes no sense
  type: list
  elements: str
  sample:
    - "scripts[0] line 9: users.0.lock-passwd is no key of a user: write lock_passwd"
reason:
  description: Why something is changed, or nothing.
  returned: success
  type: str
code:
  description:
    - The failure's stable code, for example C(CUSTOMIZATION_INVALID), C(CUSTOMIZATION_CONFLICT), C(NO_EMPTY_DRIVE),
      C(NO_SUCH_CARD).
      With C(CUSTOMIZATION_FAILED) the guest's own module and message are in C(msg) and RV(details).
  returned: failure
  type: str
  sample: CUSTOMIZATION_INVALID
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""
