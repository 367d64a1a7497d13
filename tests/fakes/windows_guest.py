# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows guest of the tests' own, as far as the role winrm_prep touches it. A simulator: no Windows is asked.

It runs the role's real script by powershell_run; the commands, .NET classes and COM objects below do what Microsoft's
documentation says they do to service, listeners, certificates, firewall, registry and files.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes.dot_net import TYPES, RSACryptoServiceProvider
from tests.fakes.powershell_run import Killed, Shell
from tests.fakes.powershell_values import Hash, Missing, PowerShellError, Record, text_of

__all__ = ["Certificate", "WindowsGuest", "make_certificate"]

ADMINISTRATORS = "S-1-5-32-544"
STATE_FILE = "C:\\ProgramData\\openngt\\winrm_prep.json"


class Certificate:
    """One in the store LocalMachine\\My, with its key."""

    def __init__(self, signed: x509.Certificate, key: ec.EllipticCurvePrivateKey, friendly_name: str) -> None:
        self.signed, self.key, self.friendly_name = signed, key, friendly_name
        self.raw_data = signed.public_bytes(serialization.Encoding.DER)
        self.thumbprint = hashlib.sha1(self.raw_data).hexdigest().upper()
        self.sha256 = hashlib.sha256(self.raw_data).hexdigest()
        self.not_after = signed.not_valid_after_utc
        self.has_private_key = True
        self.private_key = RSACryptoServiceProvider()


def make_certificate(
    now: datetime.datetime, days: int, names: list[str], friendly_name: str = "", subject: str = "CN=WEB1"
) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(subject)
    alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if is_address(n) else x509.DNSName(n) for n in names]
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=days)
    )
    built = built.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return Certificate(built.sign(key, hashes.SHA256()), key, friendly_name)


def is_address(name: str) -> bool:
    return re.search(r":|^[\d.]+$", name) is not None


class Rule:
    """A firewall rule, by the names of its interface INetFwRule."""

    def __init__(self, **fields: Any) -> None:
        self.Name = self.Description = self.ApplicationName = self.serviceName = self.LocalPorts = ""
        self.RemotePorts = self.LocalAddresses = self.RemoteAddresses = "*"
        self.Grouping, self.InterfaceTypes = "", "All"
        self.Protocol, self.Direction, self.Action, self.Profiles = 256, 1, 1, 0x7FFFFFFF
        self.Enabled = self.EdgeTraversal = False
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "RemoteAddresses":
            value = ",".join(as_windows_writes(one) for one in str(value).split(","))
        super().__setattr__(name, value)


def as_windows_writes(address: str) -> str:
    """Windows answers a network's address with its mask, whatever it was given."""
    if re.fullmatch(r"[\d.]+(/\d+)?", address):
        return str(ipaddress.ip_network(address).with_netmask)
    return address


class Rules:
    enumerate = True

    def __init__(self, guest: WindowsGuest) -> None:
        self.guest = guest

    def __iter__(self) -> Iterator[Rule]:
        return iter(list(self.guest.rules))

    def add(self, rule: Rule) -> None:
        self.guest.effect(f"add rule {rule.Name}")
        self.guest.rules.append(rule)

    def remove(self, name: str) -> None:
        self.guest.effect(f"remove rule {name}")
        self.guest.rules.remove(next(rule for rule in self.guest.rules if rule.Name == name))


class WindowsGuest:
    """What a test sets up and looks at; `run` is one run of the script."""

    def __init__(self, *, now: datetime.datetime, service: str = "Auto", running: bool = True) -> None:
        self.now, self.service = now, {"start_mode": service, "running": running}
        self.listeners: list[dict[str, Any]] = []
        self.auth = {"Basic": "false", "Negotiate": "true"}
        self.allow_unencrypted = "false"
        self.store: list[Certificate] = []
        self.rules: list[Rule] = []
        self.firewall_runs = True
        self.registry: dict[str, int] = {}
        self.policy: dict[str, int] = {}
        self.files: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.folders: set[str] = set()
        self.administrator = True
        self.under_ansible = False
        self.diff: dict[str, Any] = {}
        """What the last run gave Ansible to show."""
        self.refuses: Callable[[str], str | None] = lambda _effect: None
        """An effect's name -> why Windows refuses it."""
        self.dies_at: int | None = None
        """The process is killed before the effect of this number."""
        self.effects: list[str] = []

    def effect(self, name: str) -> None:
        if self.dies_at is not None and len(self.effects) >= self.dies_at:
            raise Killed
        if (reason := self.refuses(name)) is not None:
            raise PowerShellError(reason)
        self.effects.append(name)

    def settings(self) -> dict[str, Any]:
        """All that a run may change and a restore has to put back; to compare."""
        return copy.deepcopy(
            {
                "service": self.service,
                "listeners": self.listeners,
                "auth": self.auth,
                "allow_unencrypted": self.allow_unencrypted,
                "store": [one.thumbprint for one in self.store],
                "rules": [vars(rule) for rule in self.rules],
                "registry": self.registry,
                "files": sorted(self.files),
                "folders": sorted(self.folders),
            }
        )

    def run(self, script: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The one JSON object that the script prints."""
        self.effects = []
        environment = {"ProgramData": "C:\\ProgramData", "COMPUTERNAME": "WEB1"}
        shell = Shell(
            self.cmdlets(), {"icacls.exe": self.icacls, "certreq.exe": self.certreq}, self.types(), environment
        )
        ansible = Record({"Changed": True, "Diff": Hash()})
        if self.under_ansible:
            shell.scopes[0]["ansible"] = ansible
        [line] = shell.run(script, parameters)
        self.diff = ansible.get("Diff")
        answer: dict[str, Any] = json.loads(line)
        return answer

    # -- Commands -----------------------------------------------------------------------------------------------------

    def cmdlets(self) -> dict[str, Callable[[dict[str, Any], list[Any]], list[Any]]]:
        """By lower-case name; arguments by theirs, in the case of the script."""
        return {
            "set-strictmode": lambda a, p: [],
            "get-date": lambda a, p: [self.now],
            "join-path": lambda a, p: [f"{a['Path']}\\{a['ChildPath']}"],
            "out-string": lambda a, p: ["\n".join(text_of(one) for one in p)],
            "select-object": lambda a, p: p[: a["First"]],
            "sort-object": sort_object,
            "convertto-json": lambda a, p: [json.dumps(plain(a["InputObject"] if "InputObject" in a else p[0]))],
            "convertfrom-json": lambda a, p: [json.loads(p[0], object_hook=Record)],
            "new-object": self.new_object,
            "test-path": self.test_path,
            "get-acl": lambda a, p: [Acl(self.owners[a["LiteralPath"]])],
            "new-item": self.new_item,
            "remove-item": self.remove_item,
            "set-content": self.set_content,
            "get-childitem": self.get_child_item,
            "get-ciminstance": self.get_cim_instance,
            "get-service": lambda a, p: [Record({"Status": "Running" if self.firewall_runs else "Stopped"})],
            "set-service": self.set_service,
            "start-service": lambda a, p: self.set_running(True),
            "stop-service": lambda a, p: self.set_running(False),
            "get-wsmaninstance": self.get_wsman,
            "new-wsmaninstance": self.new_wsman,
            "set-wsmaninstance": self.set_wsman,
            "remove-wsmaninstance": self.remove_wsman,
            "get-itemproperty": self.get_property,
            "set-itemproperty": self.set_property,
            "remove-itemproperty": self.remove_property,
        }

    def new_object(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        if a.get("ComObject") == "HNetCfg.FwPolicy2":
            return [Record({"Rules": Rules(self)})]
        if a.get("ComObject") == "HNetCfg.FWRule":
            return [Rule()]
        name = str(a["TypeName"]).rpartition(".")[2].lower()
        given = a.get("ArgumentList", [])
        if name not in self.types():
            raise Missing(name)
        return [self.types()[name](*(given if isinstance(given, list) else [given]))]

    def test_path(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        path = a["LiteralPath"]
        return [self.under_ansible if path == "Variable:\\Ansible" else path in self.files or path in self.folders]

    def new_item(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"make folder {a['Path']}")
        self.folders.add(a["Path"])
        return [Record()]

    def remove_item(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"remove {a['LiteralPath']}")
        self.files.pop(a["LiteralPath"], None)
        self.folders.discard(a["LiteralPath"])
        return []

    def set_content(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"write {a['LiteralPath']}")
        self.files[a["LiteralPath"]] = "\n".join(a["Value"])
        return []

    def get_child_item(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        if a["LiteralPath"] == "Cert:\\LocalMachine\\My":
            return list(self.store)
        return [path for path in self.files if path.startswith(a["LiteralPath"] + "\\")]

    def get_cim_instance(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        if a["ClassName"] == "Win32_ComputerSystem":
            return [Record({"PartOfDomain": True, "Domain": "example.com"})]
        state = "Running" if self.service["running"] else "Stopped"
        return [Record({"StartMode": self.service["start_mode"], "State": state})]

    def set_service(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"start mode {a['StartupType']}")
        self.service["start_mode"] = {"Automatic": "Auto"}.get(a["StartupType"], a["StartupType"])
        return []

    def set_running(self, running: bool) -> list[Any]:
        self.effect("start service" if running else "stop service")
        if running and self.service["start_mode"] == "Disabled":
            raise PowerShellError("Cannot start service WinRM on computer '.'.")
        self.service["running"] = running
        return []

    def reachable(self) -> None:
        if not self.service["running"]:
            raise PowerShellError("The client cannot connect to the destination specified in the request.")

    def get_wsman(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.reachable()
        resource = a["ResourceURI"].lower()
        if resource == "winrm/config/listener":
            return [Record(one) for one in self.listeners]
        return [Record(self.auth if resource.endswith("auth") else {"AllowUnencrypted": self.allow_unencrypted})]

    def new_wsman(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.reachable()
        self.effect("make listener")
        self.known(a["ValueSet"])
        fields = {"Port": "5986", "Hostname": "", "Enabled": "true", **a["SelectorSet"], **a["ValueSet"]}
        self.listeners.append({name: text_of(value) for name, value in fields.items()})
        return [Record()]

    def known(self, values: Mapping[str, Any]) -> None:
        """A listener takes a certificate of the store alone, and one that is good."""
        wanted = values.get("CertificateThumbprint")
        found = [one for one in self.store if one.thumbprint == wanted and one.not_after > self.now]
        if wanted is not None and not found:
            raise PowerShellError("Cannot create a WinRM listener on HTTPS: no appropriate certificate.")

    def set_wsman(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.reachable()
        if a["ResourceURI"].lower().endswith("auth"):
            self.effect(f"basic {a['ValueSet']['Basic']}")
            self.auth.update(a["ValueSet"])
            return [Record()]
        self.effect("change listener")
        self.known(a["ValueSet"])
        [one] = [one for one in self.listeners if matches(one, a["SelectorSet"])]
        one.update({name: text_of(value) for name, value in a["ValueSet"].items()})
        return [Record()]

    def remove_wsman(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.reachable()
        self.effect("remove listener")
        self.listeners = [one for one in self.listeners if not matches(one, a["SelectorSet"])]
        return []

    def get_property(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        return [Record(self.policy if "Policies\\Microsoft" in a["LiteralPath"] else self.registry)]

    def set_property(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"set {a['Name']}")
        self.registry[a["Name"]] = a["Value"]
        return []

    def remove_property(self, a: dict[str, Any], _p: list[Any]) -> list[Any]:
        self.effect(f"remove {a['Name']}")
        del self.registry[a["Name"]]
        return []

    # -- Programs -----------------------------------------------------------------------------------------------------

    def icacls(self, arguments: list[str]) -> tuple[int, str]:
        self.effect("icacls")
        if "/setowner" in arguments:
            self.owners[arguments[0]] = arguments[arguments.index("/setowner") + 1].lstrip("*")
        return 0, ""

    def certreq(self, arguments: list[str]) -> tuple[int, str]:
        [_new, _quiet, request, made] = arguments
        if (reason := self.refuses("certreq")) is not None:
            return 1, reason
        self.effect("certreq")
        asked = self.files[request]
        names = re.findall(r'_continue_ = "(?:dns|ipaddress)=(.*?)&"', asked)
        fields = dict(re.findall(r'^(\w+) = "?(.*?)"?$', asked, re.MULTILINE))
        assert fields["RequestType"] == "Cert" and fields["MachineKeySet"] == "TRUE" and fields["Exportable"] == "FALSE"
        assert fields["HashAlgorithm"] == "SHA256" and fields["OID"] == "1.3.6.1.5.5.7.3.1"
        days = int(fields["ValidityPeriodUnits"])
        self.store.append(make_certificate(self.now, days, names, fields["FriendlyName"], fields["Subject"]))
        self.files[made] = "certificate"
        return 0, ""

    # -- .NET ---------------------------------------------------------------------------------------------------------

    def types(self) -> dict[str, Any]:
        guest = self

        class Store:
            def __init__(self, name: str, place: str) -> None:
                assert (name, place) == ("My", "LocalMachine")

            def open(self, mode: str) -> None:
                assert mode == "ReadWrite"

            def remove(self, certificate: Certificate) -> None:
                guest.effect("remove certificate")
                guest.store.remove(certificate)

            def close(self) -> None:
                """Nothing is kept open."""

        class Stream:
            def __init__(self, path: str, *how: Any) -> None:
                assert how[-1] == "WriteThrough"
                self.path = path

            def write(self, data: bytes, begin: int, length: int) -> None:
                guest.effect(f"write {self.path}")
                guest.files[self.path] = data[begin : begin + length].decode()
                guest.owners[self.path] = "S-1-5-21-1-2-3-1001"

            def flush(self, to_disk: bool) -> None:
                assert to_disk

            def close(self) -> None:
                """Nothing is kept open."""

        class File:
            @staticmethod
            def read_all_text(path: str) -> str:
                return guest.files[path]

            @staticmethod
            def replace(source: str, target: str, backup: None) -> None:
                guest.effect(f"replace {target}")
                guest.files[target] = guest.files.pop(source)

            @staticmethod
            def move(source: str, target: str) -> None:
                guest.effect(f"move {target}")
                guest.files[target], guest.owners[target] = guest.files.pop(source), guest.owners[source]

        class Principal:
            def __init__(self, identity: str) -> None:
                self.identity = identity

            def is_in_role(self, role: str) -> bool:
                return role == "Administrator" and guest.administrator

        return {"x509store": Store, "filestream": Stream, "file": File, "windowsprincipal": Principal, **TYPES}


class Acl:
    def __init__(self, owner: str) -> None:
        self.owner = owner

    def get_owner(self, _kind: Any) -> Record:
        return Record({"Value": self.owner})


def sort_object(a: dict[str, Any], piped: list[Any]) -> list[Any]:
    if a.get("Property") is not None:
        assert a["Property"] == "NotAfter"
        return sorted(piped, key=lambda one: one.not_after, reverse=bool(a.get("Descending")))
    return sorted(set(piped)) if a.get("Unique") else sorted(piped)


def matches(listener: Mapping[str, Any], selector: Mapping[str, Any]) -> bool:
    return all(listener[name.capitalize()] == value for name, value in selector.items())


def plain(value: Any) -> Any:
    """What ConvertTo-Json writes down."""
    if isinstance(value, Hash):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
