# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of the role winrm_prep, run in a simulated Windows: no real one is met here."""

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes import powershell
from tests.fakes.powershell_run import Killed
from tests.fakes.windows_guest import STATE_FILE, Rule, WindowsGuest, make_certificate

ROLE = Path(__file__).resolve().parents[2] / "roles/winrm_prep"
PARTS = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))["__winrm_prep_parts"]
SCRIPT = "\n\n".join((ROLE / "files" / part).read_text(encoding="utf-8").rstrip("\n") for part in PARTS) + "\n"
NOW = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
ALL = {"Basic": True, "LocalAccountTokenFilterPolicy": True}
"""Everything that the role can be asked for."""


def guest(**how: Any) -> WindowsGuest:
    return WindowsGuest(now=NOW, **how)


def run(windows: WindowsGuest, **parameters: Any) -> dict[str, Any]:
    return windows.run(SCRIPT, {"Names": ["192.0.2.11"], "AllowedAddresses": ["192.0.2.0/24"], **parameters})


def done(windows: WindowsGuest, **parameters: Any) -> list[str]:
    """The steps of a run that succeeds."""
    answer = run(windows, **parameters)
    assert not answer["failed"], answer
    assert answer["changed"] == bool(answer["steps"])
    return [step["step"] for step in answer["steps"]]


def with_listener(days: int, friendly_name: str = "corporate") -> WindowsGuest:
    """A guest that somebody has set up before."""
    windows = guest()
    certificate = make_certificate(NOW, days, ["web1"], friendly_name)
    windows.store.append(certificate)
    fields = {"Address": "*", "Transport": "HTTPS", "Port": "5986", "Hostname": "WEB1", "Enabled": "true"}
    windows.listeners.append({**fields, "CertificateThumbprint": certificate.thumbprint})
    return windows


def old_client() -> WindowsGuest:
    """As Windows is installed on a workstation: WinRM does not run. The guide's open rule is there twice."""
    windows = guest(service="Manual", running=False)
    opened = {"Name": "WinRM-HTTPS", "Protocol": 6, "LocalPorts": "5986", "Enabled": True}
    windows.rules += [Rule(**opened, Description="für alle"), Rule(**opened, Profiles=2)]
    return windows


# -- What PowerShell would say ----------------------------------------------------------------------------------------


def test_all_that_it_calls_is_in_powershell_3_without_what_came_with_windows_2012() -> None:
    assert powershell.foreign_to_powershell_3(SCRIPT) == []


def test_every_file_of_the_role_is_a_part_of_the_script() -> None:
    assert sorted(path.name for path in (ROLE / "files").iterdir()) == sorted(PARTS)


def test_nothing_that_a_program_prints_for_people_is_read() -> None:
    """netsh, sc and winrm print in the language of their Windows."""
    assert {call.command for call in powershell.parse(SCRIPT).calls if "." in call.command} <= {
        "certreq.exe",
        "icacls.exe",
    }


def test_unencrypted_messages_are_never_allowed() -> None:
    """T32: the setting is read, to warn of it, and never written."""
    assert not re.search(r"AllowUnencrypted\s*=[^=]", SCRIPT)
    assert SCRIPT.count("AllowUnencrypted -eq 'true'") == 1


def functions() -> dict[str, list[str]]:
    """Function -> the commands that it calls, in their order."""
    found = {}
    for node in powershell.walk(powershell.tree(SCRIPT)):
        if node.type == "function_statement":
            [name] = [powershell.text(child) for child in node.children if child.type == "function_name"]
            found[name] = [call.command for call in powershell.parse(powershell.text(node)).calls]
    return found


def test_each_part_is_written_down_before_it_is_changed() -> None:
    """T33: in every function that changes a part for the first time, the record comes first."""
    changing = {
        "Set-Service",
        "Start-Service",
        "New-WSManInstance",
        "Set-WSManInstance",
        "Set-ItemProperty",
        "Add-Rule",
    }
    seen = set()
    for name, calls in functions().items():
        if changing & set(calls) and not name.startswith("Restore-"):
            assert calls[0] == "Save-Former", name
            seen |= changing & set(calls)
    assert seen == changing


# -- What it does -----------------------------------------------------------------------------------------------------


def test_a_first_run_makes_all_of_it_and_a_second_one_changes_nothing() -> None:
    windows = guest()
    assert done(windows) == ["certificate", "listener", "firewall"]
    answer = run(windows)
    assert answer["steps"] == [] and not answer["changed"] and windows.effects == []
    [certificate] = windows.store
    assert answer["thumbprint_sha256"] == certificate.sha256
    assert answer["thumbprint_sha1"].upper() == certificate.thumbprint == windows.listeners[0]["CertificateThumbprint"]
    assert answer["not_after"] == "2029-08-22T00:00:00Z" and answer["port"] == 5986
    [rule] = windows.rules
    assert (rule.RemoteAddresses, rule.LocalPorts, rule.Protocol) == ("192.0.2.0/255.255.255.0", "5986", 6)
    assert windows.auth["Basic"] == "false" and windows.registry == {}


def test_the_certificate_has_all_names_by_which_controllers_call_the_guest() -> None:
    windows = guest()
    done(windows, Names=["192.0.2.11", "web1.example.net"])
    names = windows.store[0].signed.extensions[0].value
    assert {str(one.value) for one in names} == {"web1", "web1.example.com", "web1.example.net", "192.0.2.11"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("begin", [guest, old_client], ids=["server", "client"])
def test_check_says_what_a_run_does_and_touches_nothing(begin: Callable[[], WindowsGuest]) -> None:
    windows = begin()
    before = windows.settings()
    told = done(windows, Check=True, **ALL)
    assert windows.effects == [] and windows.settings() == before
    assert done(windows, **ALL) == told
    assert done(windows, Check=True, **ALL) == []
    told = done(windows, Check=True, State="absent")
    assert windows.effects == []
    assert done(windows, State="absent") == told


def test_under_ansible_the_steps_are_a_diff() -> None:
    windows = with_listener(400)
    windows.under_ansible = True
    done(windows, Check=True, Basic=True)
    assert json.loads(windows.diff["before"]) == [{"basic": False}, {"firewall": ""}]
    assert json.loads(windows.diff["after"]) == [{"basic": True}, {"firewall": "192.0.2.0/24"}]


@pytest.mark.parametrize("begin", [guest, old_client, lambda: with_listener(400)], ids=["server", "client", "prepared"])
def test_absent_puts_back_exactly_what_was_there(begin: Callable[[], WindowsGuest]) -> None:
    windows = begin()
    before = windows.settings()
    assert done(windows, **ALL)
    assert windows.settings() != before
    assert done(windows, State="absent")
    assert windows.settings() == before
    assert done(windows, State="absent") == [] and windows.effects == []


@pytest.mark.parametrize("begin", [old_client, lambda: with_listener(400)], ids=["client", "prepared"])
def test_killed_at_any_place_the_next_run_goes_on_or_puts_back(begin: Callable[[], WindowsGuest]) -> None:
    """T33, F31: after a kill between any two effects, present ends as if nothing had been, absent where it began."""
    windows = begin()
    done(windows, **ALL)
    count, wanted = len(windows.effects), anonymous(windows)
    assert count > 15
    for place in range(count):
        windows, before = killed_at(begin, place)
        done(windows, **ALL)
        assert anonymous(windows) == wanted, place
        done(windows, State="absent")
        assert windows.settings() == before, place
        windows, before = killed_at(begin, place)
        done(windows, State="absent")
        assert windows.settings() == before, place


def killed_at(begin: Callable[[], WindowsGuest], place: int) -> tuple[WindowsGuest, dict[str, Any]]:
    windows = begin()
    before = windows.settings()
    windows.dies_at = place
    with pytest.raises(Killed):
        run(windows, **ALL)
    windows.dies_at = None
    return windows, before


def anonymous(windows: WindowsGuest) -> dict[str, Any]:
    """Its settings, where two certificates of one name are the same."""
    names = {one.thumbprint: one.friendly_name for one in windows.store}
    text = json.dumps(windows.settings())
    for thumbprint, name in names.items():
        text = text.replace(thumbprint, name)
    settings: dict[str, Any] = json.loads(text)
    # A request for a certificate that a kill has left holds no secret; the run that puts back removes it.
    return {**settings, "files": [path for path in settings["files"] if path.endswith(".json")]}


def test_a_former_certificate_that_has_expired_costs_its_listener() -> None:
    windows = with_listener(-1)
    done(windows)
    answer = run(windows, State="absent")
    assert windows.listeners == [] and "has expired: the listener goes, too" in answer["warnings"][0]


def test_killed_while_it_puts_back_the_next_run_ends_it() -> None:
    """T33: the record stays until all is back."""
    for place in range(100):
        windows = old_client()
        before = windows.settings()
        done(windows, **ALL)
        windows.dies_at = place
        try:
            run(windows, State="absent")
        except Killed:
            windows.dies_at = None
            done(windows, State="absent")
            assert windows.settings() == before, place
        else:
            assert place > 5
            return
    raise AssertionError("it never came to an end")


def test_a_first_run_that_fails_leaves_nothing_open() -> None:
    """T33: what was done before the failure is put back by the same run."""
    for effect in ("make listener", "basic true", "set LocalAccountTokenFilterPolicy", "add rule WinRM-HTTPS"):
        windows = guest(service="Manual", running=False)
        before = windows.settings()
        windows.refuses = lambda name, effect=effect: "not today" if name == effect else None  # type: ignore[misc]
        answer = run(windows, **ALL)
        assert answer["failed"] and "not today" in answer["message"] and "is back" in answer["message"], answer
        assert windows.settings() == before, effect


# -- What was there before --------------------------------------------------------------------------------------------


def test_a_listener_with_a_valid_certificate_is_kept_whoever_made_it() -> None:
    windows = with_listener(400)
    listener = dict(windows.listeners[0])
    assert done(windows) == ["firewall"]
    assert windows.listeners == [listener]
    windows = with_listener(10)
    answer = run(windows)
    assert [step["step"] for step in answer["steps"]] == ["firewall"]
    assert answer["warnings"] == ["the listener's certificate ends 2026-12-06; it is not of this script"]


def test_an_expired_certificate_is_replaced_and_its_own_is_renewed_in_time() -> None:
    windows = with_listener(-1)
    assert done(windows) == ["certificate", "listener", "firewall"]
    windows.now = NOW + datetime.timedelta(days=965)
    assert done(windows) == []
    windows.now = NOW + datetime.timedelta(days=975)
    first = windows.listeners[0]["CertificateThumbprint"]
    assert done(windows) == ["certificate", "listener"]
    assert windows.listeners[0]["CertificateThumbprint"] != first
    assert first not in [one.thumbprint for one in windows.store], "the old one is gone, with its key"


def test_who_is_connected_sees_the_new_certificate_before_the_listener_takes_it() -> None:
    windows = guest()
    done(windows, PinFirst=True)
    first = windows.listeners[0]["CertificateThumbprint"]
    moved = {"Names": ["198.51.100.7"]}
    answer = run(windows, PinFirst=True, **moved)
    assert [step["step"] for step in answer["steps"]] == ["certificate"]
    assert answer["pending"] and windows.listeners[0]["CertificateThumbprint"] == first
    again = run(windows, PinFirst=True, **moved)
    assert not again["changed"] and again["next"] == answer["next"], "no further one is made"
    changed = run(windows, **moved)
    assert changed["thumbprint_sha256"] == answer["next"]["thumbprint_sha256"] != answer["thumbprint_sha256"]
    assert len(windows.store) == 1


def test_the_guides_rule_for_everybody_is_narrowed_and_others_are_named() -> None:
    windows = old_client()
    windows.rules.append(Rule(Name="mine", Protocol=6, LocalPorts="80,5986", Enabled=True))
    answer = run(windows)
    assert answer["warnings"] == ["the firewall rule 'mine' opens port 5986, too, to *"]
    assert [(rule.Name, rule.RemoteAddresses) for rule in windows.rules] == [
        ("mine", "*"),
        ("WinRM-HTTPS", "192.0.2.0/255.255.255.0"),
    ]
    assert done(windows, AllowedAddresses=["any"]) == ["firewall"]
    assert windows.rules[-1].RemoteAddresses == "*"


def test_basic_is_only_there_while_it_is_asked_for() -> None:
    """T32: NTLM needs none of it; what was on before is left, and told."""
    windows = guest()
    assert "basic" in done(windows, Basic=True)
    assert windows.auth["Basic"] == "true"
    assert done(windows) == ["basic"]
    assert windows.auth["Basic"] == "false"
    windows = guest()
    windows.auth["Basic"], windows.allow_unencrypted = "true", "true"
    said = " ".join(run(windows)["warnings"])
    assert "takes Basic" in said and "AllowUnencrypted is true" in said
    assert windows.auth["Basic"] == "true"


def test_what_somebody_has_set_up_meanwhile_is_left() -> None:
    windows = guest()
    done(windows)
    other = make_certificate(NOW, 400, ["web1"], "corporate")
    windows.store.append(other)
    windows.listeners[0]["CertificateThumbprint"] = other.thumbprint
    answer = run(windows, State="absent")
    assert windows.listeners[0]["CertificateThumbprint"] == other.thumbprint
    assert [one.thumbprint for one in windows.store] == [other.thumbprint]
    assert answer["warnings"] == [
        "somebody has given the HTTPS listener another certificate meanwhile: it is left as it is"
    ]


# -- What it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ({"AllowedAddresses": []}, "INVALID_INPUT", "AllowedAddresses is empty"),
        ({"AllowedAddresses": ["10.0.0.0/33"]}, "INVALID_INPUT", "'10.0.0.0/33' is no address"),
        ({"AllowedAddresses": ["10.0.0.1-9"]}, "INVALID_INPUT", "'10.0.0.1-9' is no address"),
        ({"AllowedAddresses": ["everybody"]}, "INVALID_INPUT", "'everybody' is no address"),
        ({"Names": ['web1"&dns=evil']}, "INVALID_INPUT", "is no host name"),
    ],
)
def test_bad_input_is_named_and_nothing_is_touched(parameters: dict[str, Any], code: str, words: str) -> None:
    windows = guest()
    answer = run(windows, **parameters)
    assert answer["failed"] and answer["code"] == code and words in answer["message"] and answer["remedy"]
    assert windows.effects == []


@pytest.mark.parametrize(
    "address", ["192.0.2.10", "192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::/32", "LocalSubnet"]
)
def test_addresses_are_taken_in_each_form_that_the_firewall_knows(address: str) -> None:
    windows = guest()
    done(windows, AllowedAddresses=[address])
    assert done(windows, AllowedAddresses=[address]) == []


def test_who_is_no_administrator_and_what_a_user_has_written_is_refused() -> None:
    windows = guest()
    windows.administrator = False
    assert run(windows)["code"] == "PERMISSION_DENIED" and windows.effects == []
    windows = guest()
    windows.files[STATE_FILE] = json.dumps({"format": "openngt-winrm-prep-1", "former": {"basic": True}, "applied": {}})
    windows.owners[STATE_FILE] = "S-1-5-21-1-2-3-1001"
    answer = run(windows, State="absent")
    assert answer["code"] == "FILE_UNUSABLE" and "S-1-5-21-1-2-3-1001" in answer["message"]
    assert windows.auth["Basic"] == "false" and windows.effects == []


def test_what_a_group_policy_forbids_and_what_certreq_says_is_told() -> None:
    windows = guest()
    windows.policy["AllowBasic"] = 0
    assert run(windows, Basic=True)["code"] == "CONFIG_INVALID"
    windows = guest()
    windows.refuses = lambda name: "0x80090016 keyset does not exist" if name == "certreq" else None
    answer = run(windows)
    assert answer["code"] == "COMMAND_FAILED" and "certreq.exe ended with 1: 0x80090016" in answer["message"]
    assert windows.settings() == guest().settings()
