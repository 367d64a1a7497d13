# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin `fleet_install`: one specification in two places, and hosts with their variables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from plugins.action.fleet_install import SPEC, chosen
from plugins.module_utils.argspec import SERVICE
from plugins.module_utils.openngt.errors import OpenNGTError
from plugins.module_utils.openngt.install.fleet.report import Refused
from plugins.module_utils.openngt.install.fleet.target import SshLogin, Target
from plugins.plugin_utils.fleet_hosts import guests_of

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
INSTALL = "openngt.guest_tools.fleet_install"
MODULE = Path(__file__).resolve().parents[2] / "plugins/modules/fleet_install.py"
CANARY = "canary-71d0"
VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"


def test_the_plugin_takes_what_the_module_documents() -> None:
    text = MODULE.read_text(encoding="utf-8")
    documented = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])["options"]
    taken = {name: spec for name, spec in SPEC.items() if name not in SERVICE}
    assert set(documented) == set(taken)
    for name, spec in taken.items():
        told = documented[name]
        for key in ("type", "elements", "default"):
            assert told.get(key) == spec.get(key), f"{name}: {key}"
        assert set(told.get("suboptions", {})) == set(spec.get("options", {})), name


class Variables(dict[str, Any]):
    """Of a host as Ansible hands them out: evaluated when they are read."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, AnsibleError):
            raise value
        return value


def test_a_variable_that_cannot_be_evaluated_is_its_hosts_alone_and_is_named() -> None:
    hostvars = {
        "web1": Variables(ansible_user="admin", unrelated=AnsibleError("never read")),
        "web2": Variables(ansible_password=AnsibleError(f"cannot decrypt {CANARY}")),
    }
    targets, refused = guests_of(["web1", "web2"], hostvars, {"ansible_port": 2222}, trust_new=False)
    assert [(target.name, target.login.port) for target in targets] == [("web1", 2222)]
    [broken] = refused
    assert (broken.name, broken.error.code, broken.error.details["variable"]) == (
        "web2",
        "INVALID_INPUT",
        "ansible_password",
    )
    assert CANARY not in broken.error.message


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (None, ["web1", "db1", "odd"]),
        (["WEB1"], ["web1"]),
        ([VM.upper()], ["db1"]),
        (["odd", "db1"], ["db1", "odd"]),
        (["web"], []),
        ([], []),
    ],
)
def test_only_chooses_by_name_or_uuid_whatever_the_case(only: list[str] | None, wanted: list[str]) -> None:
    """Of those that can be installed and of those that are refused alike."""
    login = SshLogin("192.0.2.1")
    guests: list[Target | Refused] = [
        Target("web1", "web1", login),
        Target("db1", VM, login),
        Refused("odd", "odd", OpenNGTError("INVALID_INPUT", "no login")),
    ]
    assert [guest.name for guest in chosen(guests, only)] == wanted


@pytest.mark.slow
def test_of_a_list_only_the_named_guests_are_done_and_have_a_row(fleet: Fleet, run_tasks: RunTasks) -> None:
    known = {name: fleet.add_vm(name) for name in ("web1", "db1", "far")}
    login = {"host": "127.0.0.1", "port": 1, "credentials": {"username": "root", "password": CANARY}}
    listed = [{"vmname": name, "uuid": known[name], **login} for name in known]
    asked = [{"credentials": listed, "only": [known["db1"].upper(), "far"]}, {"credentials": listed, "only": ["web2"]}]
    named, nobody = run_tasks([{INSTALL: task} for task in asked], check=True, environment=fleet.environment)
    assert [(row["name"], row["code"]) for row in named["rows"]] == [("db1", "GUEST_REFUSED"), ("far", "GUEST_REFUSED")]
    assert nobody["rows"] == [] and not nobody.get("failed"), nobody
    assert CANARY not in str(named)


@pytest.mark.slow
def test_a_host_that_cannot_be_honoured_is_a_row_and_shows_no_value(
    fleet: Fleet, run_tasks: RunTasks, tmp_path: Path
) -> None:
    vm_uuid = fleet.add_vm("far")
    add: list[dict[str, Any]] = [
        {"ansible.builtin.add_host": {"name": "odd", "ansible_connection": "docker"}},
        {
            "ansible.builtin.add_host": {
                "name": "far",
                "ansible_host": "127.0.0.1",
                "ansible_port": 1,
                "ansible_user": "root",
                "ansible_password": CANARY,
                "openngt_vm": vm_uuid.upper(),
            }
        },
    ]
    task = {INSTALL: {"hosts": ["odd", "far", "unknown"], "journal": str(tmp_path / "journal")}}
    *_, result = run_tasks([*add, task], environment=fleet.environment)
    assert result["failed"] and result["code"] == "TASK_FAILED", result
    rows = {row["name"]: row for row in result["rows"]}
    assert {name: row["code"] for name, row in rows.items()} == {
        "odd": "GUEST_LOGIN_UNSUPPORTED",
        "far": "GUEST_REFUSED",
        "unknown": "INVALID_INPUT",
    }
    assert "ansible_connection" in rows["odd"]["message"]
    assert (rows["far"]["phase"], rows["far"]["vm_uuid"]) == ("connect", vm_uuid)
    assert Path(result["limit_file"]).read_text().split() == ["far", "odd", "unknown"]
    assert CANARY not in str(result) and not any(
        CANARY in path.read_text() for path in (tmp_path / "journal").iterdir()
    )
    assert fleet.changes() == ["vm.enable"]
