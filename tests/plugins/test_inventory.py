# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin, run by ansible-core against the real service in front of a hypervisor in a file."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.obedient_guest import ObedientGuest
from tests.fakes.odd_fleet import token_of

from ..conftest import program
from .conftest import Fleet

NAME = "openngt.guest_tools.vms"
# Says, wherever a guest may say something, what would run on the controller if anybody templated it.
EVIL = "{{ lookup('ansible.builtin.pipe', 'touch canary-ran') }}"
STATUS = {
    "hostname": EVIL,
    "guest_os_id": "debian",
    "guest_os_name": EVIL,
    "network_interfaces": [
        {
            "interface": "eth0",
            "mac_address": EVIL,
            "ipv4": [{"ip_address": "10.1.2.3", "prefix_length": 8}, {"ip_address": "192.0.2.77", "prefix_length": 24}],
            "ipv6": [{"ip_address": "2001:db8::5", "prefix_length": 64}],
        }
    ],
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(fleet: Fleet, collection: Path, tmp_path: Path) -> Run:
    """`run(config, *arguments, program="ansible-inventory", file="vms.ngt.yml", environment=None)`"""

    def inner(
        config: Mapping[str, Any],
        *arguments: str,
        command: str = "ansible-inventory",
        file: str = "vms.ngt.yml",
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        (tmp_path / file).write_text(yaml.safe_dump({"plugin": NAME, **config}))
        return subprocess.run(
            [program(command), "-i", file, *arguments],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")},
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
                "COLUMNS": "500",
                **fleet.environment,
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return inner


def listed(run: Run, config: Mapping[str, Any], **how: Any) -> tuple[dict[str, Any], dict[str, list[str]], str]:
    """Host variables, the hosts of each group, and what stood on standard error."""
    done = run(config, "--list", **how)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    hosts = found.pop("_meta")["hostvars"]
    return hosts, {name: sorted(group.get("hosts", [])) for name, group in found.items()}, done.stderr


def test_hosts_have_their_record_their_address_and_their_groups(fleet: Fleet, run: Run, tmp_path: Path) -> None:
    linked = fleet.add_vm("web1", enrolled=True)
    off = fleet.add_vm("db1", enrolled=True)
    fleet.service.hypervisor.set_power(off, "off")
    fleet.add_vm("plain")
    ObedientGuest(fleet.service, linked, tmp_path, status=STATUS)
    hosts, groups, _ = listed(run, {})
    assert set(hosts) == {"web1", "db1"}
    web1 = hosts["web1"]
    assert (web1["openngt_vm"], web1["ngt_vm_uuid"], web1["ansible_host"]) == (linked, linked, "10.1.2.3")
    assert web1["ngt_certificate"]["kind"] == "link" and web1["ngt_enrolled"] is True
    assert "ansible_host" not in hosts["db1"]
    where = {name: of_it for name, of_it in groups.items() if of_it}
    assert where.pop("ngt_version_0_1_0") == where.pop("ngt_os_debian") == ["web1"]
    assert where.pop("ngt_transport_tls") == where.pop("ngt_expiry_pass") == where.pop("ngt_link_active") == ["web1"]
    assert where.pop("ngt_link_inactive") == where.pop("ngt_power_off") == ["db1"]
    assert where.pop("ngt_power_on") == ["web1"] and not where

    with_all, groups, _ = listed(run, {"include_unenrolled": True, "filters": ["link=active"]})
    assert set(with_all) == {"web1", "plain"}
    assert groups["ngt_not_enrolled"] == ["plain"] and with_all["plain"]["ngt_cdrom_drives"][0]["state"] == "empty"
    chosen = {"subnets": ["192.0.2.0/24"], "standard_groups": False, "variables_prefix": "vm_"}
    hosts, groups, _ = listed(run, chosen)
    assert (hosts["web1"]["ansible_host"], hosts["web1"]["vm_name"]) == ("192.0.2.77", "web1")
    assert not [name for name in groups if name.startswith("ngt_")]
    assert listed(run, {"address_family": "ipv6"})[0]["web1"]["ansible_host"] == "2001:db8::5"
    assert "ansible_host" not in listed(run, {"set_ansible_host": False})[0]["web1"]


def test_what_a_guest_says_is_never_a_template(fleet: Fleet, run: Run, tmp_path: Path) -> None:
    vm_uuid = fleet.add_vm("web1", enrolled=True)
    named = fleet.add_vm(EVIL, enrolled=True)
    ObedientGuest(fleet.service, vm_uuid, tmp_path, status=STATUS)
    config = {
        "compose": {"said": "ngt_vm_info.hostname", "mac": "ngt_vm_info.network_interfaces[0].mac_address"},
        "keyed_groups": [{"key": "ngt_vm_info.hostname", "prefix": "said"}],
        "hostnames": ["ngt_vm_info.guest_os_name", "{{ ngt_vm_info.hostname }}", "vm_name"],
        "strict": False,
    }
    hosts, _, stderr = listed(run, config)
    assert set(hosts) == {vm_uuid, named}, "a name with a template in it is none"
    assert "cannot be a host's" in " ".join(stderr.split())
    debug = ["-m", "ansible.builtin.debug", "-a", "msg={{ [said, mac, ngt_vm_info, ngt_vm_name] | to_json }}"]
    played = run(config, "all", *debug, "-c", "local", command="ansible")
    assert "touch canary-ran" in played.stdout, played.stdout + played.stderr
    assert list(tmp_path.rglob("canary-ran")) == []


def test_the_users_own_words_compose_and_group(fleet: Fleet, run: Run) -> None:
    for name in ("web1", "web2", "db1"):
        fleet.add_vm(name, enrolled=True)
    config = {
        "strict": True,
        "compose": {"ansible_user": "'admin'", "role": "ngt_vm_name[:-1]"},
        "groups": {"front": "inventory_hostname is match('web')"},
        "keyed_groups": [{"key": "role", "prefix": "role"}],
        "hostnames": ["ngt_vm_name ~ '.example'"],
        "groups_prefix": "gt_",
    }
    hosts, groups, _ = listed(run, config)
    assert set(hosts) == {"web1.example", "web2.example", "db1.example"}
    assert hosts["web1.example"]["ansible_user"] == "admin"
    assert groups["front"] == groups["role_web"] == ["web1.example", "web2.example"]
    assert groups["gt_link_inactive"] == ["db1.example", "web1.example", "web2.example"]
    graph = run(config, "--graph", "front")
    assert "|--web1.example" in graph.stdout
    limited = run(config, "--limit", "gt_power_on:!front", "--list")
    assert set(json.loads(limited.stdout)["_meta"]["hostvars"]) == {"db1.example"}
    failing = run({"strict": True, "compose": {"x": "no_such_variable"}}, "--list")
    assert failing.returncode != 0 and "no_such_variable" in failing.stderr


def test_a_pattern_names_a_group_that_is_empty_today(fleet: Fleet, run: Run) -> None:
    fleet.add_vm("web1", enrolled=True)
    limited = run({}, "--list", "--limit", "ngt_expiry_fail")
    assert "Could not match" not in limited.stderr


def test_a_name_that_two_vms_have_is_neithers(fleet: Fleet, run: Run) -> None:
    one, two = fleet.add_vm("web1", enrolled=True), fleet.add_vm("web1", enrolled=True)
    local = fleet.add_vm("localhost", enrolled=True)
    hosts, _, stderr = listed(run, {})
    assert set(hosts) == {f"web1_{one[:8]}", f"web1_{two[:8]}", local}
    assert hosts[f"web1_{one[:8]}"]["openngt_vm"] == one
    assert "several VMs are called web1" in " ".join(stderr.split())
    assert set(listed(run, {"hostnames": ["vm_uuid"]})[0]) == {one, two, local}


def test_a_cached_answer_is_one_to_the_same_question(fleet: Fleet, run: Run, tmp_path: Path) -> None:
    fleet.add_vm("web1", enrolled=True)
    caching = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
        "cache_timeout": 3600,
    }
    assert set(listed(run, caching)[0]) == {"web1"}
    fleet.add_vm("web2", enrolled=True)
    assert set(listed(run, caching)[0]) == {"web1"}, "as it was"
    gone = {"OPENNGT_TOKEN": "canary-token-1f7c"}
    assert set(listed(run, caching, environment=gone)[0]) == {"web1"}, "nobody was asked"
    assert set(listed(run, {**caching, "filters": ["vm_name=web*"]})[0]) == {"web1", "web2"}, "another question"
    assert set(listed(run, {**caching, "include_unenrolled": True})[0]) == {"web1", "web2"}
    flushed = run(caching, "--list", "--flush-cache")
    assert set(json.loads(flushed.stdout)["_meta"]["hostvars"]) == {"web1", "web2"}
    assert set(listed(run, {})[0]) == {"web1", "web2"}, "without a cache it is never old"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 3
    for path in kept:
        text = path.read_text() + path.name
        assert fleet.service.token not in text and "canary-token" not in text


def test_the_access_may_stand_in_the_file_in_a_template_or_a_vault(fleet: Fleet, run: Run, tmp_path: Path) -> None:
    fleet.add_vm("web1", enrolled=True)
    viewer = token_of(fleet.client, "viewer")
    (tmp_path / "token").write_text(viewer)
    nothing = {"OPENNGT_ENDPOINT": "", "OPENNGT_TOKEN": "", "OPENNGT_CA_FILE": "", "ELSEWHERE": fleet.service.ca_file}
    config = {
        "endpoint": fleet.service.endpoint,
        "token": "{{ lookup('ansible.builtin.file', 'token') }}",
        "ca_file": "{{ lookup('ansible.builtin.env', 'ELSEWHERE') }}",
    }
    hosts, _, _ = listed(run, config, environment=nothing)
    assert set(hosts) == {"web1"} and viewer not in json.dumps(hosts)
    (tmp_path / "password").write_text("vault words")
    vaulted = subprocess.run(
        [program("ansible-vault"), "encrypt_string", "--vault-password-file", "password", "--name", "token", viewer],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    rest = yaml.safe_dump({"plugin": NAME, "endpoint": fleet.service.endpoint, "ca_file": fleet.service.ca_file})
    (tmp_path / "vault.ngt.yml").write_text(rest + vaulted.stdout)
    more = ["-i", "vault.ngt.yml", "--vault-password-file", "password", "--list"]
    done = run({}, *more, file="vms.ngt.yml")
    assert done.returncode == 0 and "web1" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["ngt.yml", "prod.openngt.yaml", "openngt.yml"])
def test_files_of_these_names_are_ours(fleet: Fleet, run: Run, name: str) -> None:
    fleet.add_vm("web1", enrolled=True)
    assert set(listed(run, {}, file=name)[0]) == {"web1"}


BAD: list[tuple[dict[str, Any], dict[str, str], str, str]] = [
    ({"filters": ["colour=red"]}, {}, "INVALID_INPUT", "filter"),
    ({"subnets": ["10.0.0.300/8"]}, {}, "INVALID_INPUT", "entry 1"),
    ({"groups_prefix": "a-b"}, {}, "INVALID_INPUT", "groups_prefix"),
    ({"variables_prefix": "1"}, {}, "INVALID_INPUT", "variables_prefix"),
    ({"timeout": -1}, {}, "INVALID_INPUT", "timeout"),
    ({"endpoint": "http://127.0.0.1:1"}, {}, "INVALID_INPUT", "endpoint"),
    ({"endpoint": "https://127.0.0.1:9", "timeout": 0.5}, {}, "ENDPOINT_UNREACHABLE", "127.0.0.1"),
    ({"token": "{{ no_such_variable_canary }}"}, {}, "INVALID_INPUT", "token"),
    ({"token": "wrong-token-canary"}, {}, "AUTHENTICATION_FAILED", "token"),
    ({"ca_file": "/nowhere/ca.pem"}, {}, "INVALID_INPUT", "ca_file"),
    ({"ca_file": ""}, {"OPENNGT_CA_FILE": ""}, "TLS_NOT_TRUSTED", "ca_file"),
]


@pytest.mark.parametrize(("config", "environment", "code", "words"), BAD, ids=[f"{row[2]} {row[3]}" for row in BAD])
def test_what_cannot_work_is_a_code_and_a_remedy(
    run: Run, config: dict[str, Any], environment: dict[str, str], code: str, words: str
) -> None:
    done = run(config, "--list", environment=environment)
    assert done.returncode != 0
    assert code in done.stderr and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "canary" not in done.stderr, done.stderr


def test_without_an_endpoint_the_option_is_named(run: Run) -> None:
    done = run({}, "--list", environment={"OPENNGT_ENDPOINT": ""})
    assert done.returncode != 0 and "endpoint" in done.stderr


def test_it_is_documented(collection: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [program("ansible-doc"), "-t", "inventory", "--json", NAME],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    options = json.loads(done.stdout)[NAME]["doc"]["options"]
    assert {"endpoint", "hostnames", "compose", "keyed_groups", "cache", "strict"} <= set(options) and not done.stderr
