# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's VMs as hosts: asks, caches, and hands each to Ansible; the decisions are in module_utils/hosts.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: vms
short_description: Hosts from the Guest Tools Service
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Makes a host of every enrolled VM of the service, and on request of every other VM of its hypervisor.
  - Each host has the VM's record as variables, the address that its guest has said, and is in groups by power, link,
    transport, agent's version, certificate's expiry and operating system.
  - A host's variable C(openngt_vm) is the VM's UUID, so the collection's playbooks work on exactly that VM whatever it
    is called.
  - The file's name ends in C(.ngt.yml), C(.ngt.yaml), C(.openngt.yml) or C(.openngt.yaml), or is one of these without
    the first dot.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: What says that the file is meant for this plugin.
    type: str
    required: true
    choices: [openngt.guest_tools.vms]
  endpoint:
    description: Where the service answers, as an HTTPS URL. May be a template.
    type: str
    required: true
    env:
      - name: OPENNGT_ENDPOINT
  token:
    description:
      - A bearer token of the service; a viewer's is enough. May be a template or a vaulted string.
      - It is in no host's variables, no message and no cache.
    type: str
    required: true
    env:
      - name: OPENNGT_TOKEN
  ca_file:
    description:
      - PEM file of the CA that signed the service's certificate. May be a template.
      - Without it the system's trust store decides. Verification cannot be switched off.
    type: str
    env:
      - name: OPENNGT_CA_FILE
  timeout:
    description: How long one call to the service may take, in seconds.
    type: float
    default: 60.0
    env:
      - name: OPENNGT_TIMEOUT
  filters:
    description:
      - Only enrolled VMs that meet all of these conditions, each C(FIELD=VALUE[,VALUE...]) or with C(!=); where values
        have an order also with C(<), C(<=), C(>) or C(>=). The same as
        O(openngt.guest_tools.vm_info#module:filters).
    type: list
    elements: str
    default: []
  include_unenrolled:
    description:
      - Also make hosts of the hypervisor's VMs that are not enrolled, in the group C(ngt_not_enrolled). O(filters) does
        not choose among these.
    type: bool
    default: false
  hostnames:
    description:
      - How a host is called, the first that gives a name. V(vm_name), V(vm_uuid), a Jinja2 expression of the host's
        variables such as V(ngt_vm_info.hostname), or a template with braces.
      - Where several VMs would be called the same, each gets eight digits of its UUID behind the name, with a warning.
      - A name that Ansible takes for something else (V(localhost), one with a slash, a template) is replaced by the
        UUID, with a warning.
    type: list
    elements: str
    default: [vm_name]
  set_ansible_host:
    description:
      - Set C(ansible_host) to an address that the guest has said, where there is one. O(compose) can set another.
      - It is the guest's word; what makes sure that it is this guest is its SSH host key or its certificate.
    type: bool
    default: true
  address_family:
    description: Which addresses are taken for C(ansible_host); with V(any) one of IPv4 if there is one.
    type: str
    choices: [ipv4, ipv6, any]
    default: ipv4
  subnets:
    description:
      - Take only addresses in these networks, the first network first. Without it the first that is not of the guest
        alone (loopback, link-local).
    type: list
    elements: str
    default: []
  standard_groups:
    description: Whether to make the groups by power, link and so on.
    type: bool
    default: true
  groups_prefix:
    description: How the names of those groups begin.
    type: str
    default: ngt_
  variables_prefix:
    description:
      - How the names of the variables begin. A field of the record whose own name begins so is not prefixed twice
        (C(ngt_uuid)).
    type: str
    default: ngt_
seealso:
  - module: openngt.guest_tools.vm_info
"""

EXAMPLES = r"""
# vms.ngt.yml, with OPENNGT_ENDPOINT, OPENNGT_TOKEN and OPENNGT_CA_FILE in the environment, is one line:
# plugin: openngt.guest_tools.vms

# soon.ngt.yml: everything said here; running VMs whose certificate ends soon, by their address in one network
plugin: openngt.guest_tools.vms
endpoint: https://guest-tools.example:2073
token: "{{ lookup('ansible.builtin.file', '~/.openngt-token') }}"
ca_file: /etc/openngt/ca.pem
filters:
  - power_state=on
  - days_left<=45
subnets: [10.20.0.0/16]
compose:
  ansible_user: "'admin'"
groups:
  web: inventory_hostname is match('web')
keyed_groups:
  - key: ngt_vm_info.timezone
    prefix: zone
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/openngt-inventory
cache_timeout: 300
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ..module_utils.hosts import (
    FIXED_GROUPS,
    address_of,
    distinct_names,
    groups_of,
    networks,
    variables_of,
    without_twins,
)
from ..module_utils.openngt.client import Client
from ..module_utils.openngt.errors import OpenNGTError

FILE_NAME = re.compile(r"(^|\.)(ngt|openngt)\.ya?ml$")
PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|")
Json = dict[str, Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]  # untyped bases
    NAME = "openngt.guest_tools.vms"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and FILE_NAME.search(os.path.basename(path)) is not None  # noqa: PTH119

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            self._check_options()
            wanted = networks(self.get_option("subnets"))
            self._populate(self._records(path, cache), wanted)
        except OpenNGTError as error:
            text = f"{error.code}: {error.message}"
            raise AnsibleParserError(f"{text}\n{error.remedy}" if error.remedy else text) from error

    def _check_options(self) -> None:
        for option in ("groups_prefix", "variables_prefix"):
            if not PREFIX.fullmatch(self.get_option(option)):
                message = f"{option}: letters, digits and _ only, and no digit first"
                raise OpenNGTError("INVALID_INPUT", message, {"field": option})

    def _records(self, path: str, cache: bool) -> list[Json]:
        """What the service says, or said not long ago."""
        caching = self.get_option("cache")
        key = self._key(path)
        if caching and cache:
            with contextlib.suppress(KeyError):
                found: list[Json] = self._cache[key]
                return found
        records = self._asked()
        if caching:
            self._cache[key] = records
        return records

    def _key(self, path: str) -> str:
        """Of this file, asking this: what another question was answered is not the answer to this one."""
        asked = [self._text("endpoint"), self.get_option("filters"), self.get_option("include_unenrolled")]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        return f"{self.get_cache_key(path)}_{digest}"

    def _asked(self) -> list[Json]:
        endpoint, token = self._text("endpoint") or "", self._text("token") or ""
        with Client(endpoint, token, self._text("ca_file"), self.get_option("timeout")) as client:
            records: list[Json] = client.vms(filters=self.get_option("filters"))
            if self.get_option("include_unenrolled"):
                records += [vm for vm in client.hypervisor_vms() if not vm["enrolled"]]
        return records

    def _text(self, option: str) -> str | None:
        """An option that may be a template, or vaulted."""
        value = self.get_option(option)
        if value is None:
            return None
        try:
            return str(self.templar.template(value))
        except AnsibleError as exc:  # the value stays out: it may be the token
            raise OpenNGTError("INVALID_INPUT", f"{option}: its template failed ({type(exc).__name__})") from None

    def _populate(self, records: list[Json], wanted: list[Any]) -> None:
        prefix = self.get_option("groups_prefix")
        if self.get_option("standard_groups"):
            for group in FIXED_GROUPS:
                self.inventory.add_group(prefix + group)
        alone, warnings = without_twins(records)
        # Whatever a guest or a VM's owner has written is data, and never a template.
        hosts = {record["vm_uuid"]: wrap_var(self._variables(record)) for record in alone}
        wishes = {record["vm_uuid"]: self._name(record, hosts[record["vm_uuid"]]) for record in alone}
        names, more = distinct_names(wishes)
        for warning in warnings + more:
            self.display.warning(warning)
        for record in alone:
            variables, name = hosts[record["vm_uuid"]], names[record["vm_uuid"]]
            address = address_of(record, self.get_option("address_family"), wanted)
            if address is not None and self.get_option("set_ansible_host"):
                variables["ansible_host"] = address
            groups = [prefix + group for group in groups_of(record)] if self.get_option("standard_groups") else []
            self._add(name, variables, groups)

    def _variables(self, record: Mapping[str, Any]) -> Json:
        return variables_of(record, self.get_option("variables_prefix"))

    def _name(self, record: Json, variables: Json) -> str:
        """The first of the preferences that gives one; the UUID when none does."""
        for preference in self.get_option("hostnames"):
            plain = preference in ("vm_name", "vm_uuid")
            found = record[preference] if plain else self._rendered(preference, variables)
            if isinstance(found, str) and found:
                return str(found)
        return str(record["vm_uuid"])

    def _rendered(self, preference: str, variables: Json) -> Any:
        try:
            if "{{" not in preference:
                return self._compose(preference, variables)
            self.templar.available_variables = variables
            return self.templar.template(preference)
        except AnsibleError as exc:
            if self.get_option("strict"):
                vm = variables["openngt_vm"]
                raise AnsibleParserError(f"hostnames: {preference!r} failed for VM {vm}: {exc}") from exc
            return None

    def _add(self, name: str, variables: Json, groups: list[str]) -> None:
        self.inventory.add_host(name)
        for group in groups:
            self.inventory.add_child(self.inventory.add_group(group), name)
        for variable, value in variables.items():
            self.inventory.set_variable(name, variable, value)
        strict = self.get_option("strict")
        # `inventory_hostname` is what conditions speak of most, and a host's own variables do not have it yet.
        known = {**variables, "inventory_hostname": name}
        self._set_composite_vars(self.get_option("compose"), known, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
