# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and the answer files that follow from them, one for each option. Run it to write the files anew."""

from pathlib import Path
from typing import Any, NamedTuple

from openngt.customization.model import Customization, GuestFile, MediaVm
from openngt.customization.sysprep import build_sysprep

FOLDER = Path(__file__).with_name("answer_files")
VM = MediaVm("7b0f9a3e-3c0e-4c61-9f0a-1f5a8c1f2d10", "web1", "i-7b0f9a3e-3c0e-4c61-9f0a-1f5a8c1f2d10")
PASSWORD = "Pa55-canary"
ADMINISTRATOR = {"administrator_password": PASSWORD}


class Case(NamedTuple):
    options: dict[str, Any]
    install_type: str = "prepared"
    files: tuple[GuestFile, ...] = ()
    network: dict[str, Any] | None = None

    @property
    def customization(self) -> Customization:
        # Deleting copies is a case of its own, so that the others show what they are about.
        options = {"scrub": False, **self.options}
        return Customization(
            format="sysprep",
            options=options,
            install_type=self.install_type,  # type: ignore[arg-type]
            files=self.files,
            network=self.network,
        )


def fresh(**options: Any) -> Case:
    return Case({"accept_eula": True, **options}, "fresh")


CASES = {
    "computer_name": Case({"computer_name": "WEB1"}),
    "computer_name-any": Case({"computer_name": "*"}),
    "time_zone": Case({"time_zone": "W. Europe Standard Time"}),
    "input_locale": Case({"input_locale": "0407:00000407;en-US"}),
    "system_locale": Case({"system_locale": "de-DE"}),
    "ui_language": Case({"ui_language": "de-DE"}),
    "user_locale": Case({"user_locale": "de-DE"}),
    "administrator_password": Case(ADMINISTRATOR),
    "password_form": Case({**ADMINISTRATOR, "password_form": "base64", "autologon": {"count": 3}}),
    "local_accounts": Case(
        {
            "local_accounts": [
                {"name": "ops", "password": PASSWORD, "groups": ["Administrators", "Remote Desktop Users"]},
                {"name": "Läufer", "password": PASSWORD, "display_name": "Läufer & Co", "description": "<runs>"},
            ]
        }
    ),
    "autologon": Case({**ADMINISTRATOR, "autologon": {}}),
    "autologon-count": Case({"autologon": {"username": "ops", "password": PASSWORD, "domain": "corp", "count": 3}}),
    "first_logon_commands": Case(
        {"first_logon_commands": ["cmd.exe /c echo 1 & echo 2", {"command": "second.exe", "description": "the second"}]}
    ),
    "domain": Case(
        {
            "domain": {
                "name": "corp.example.com",
                "username": "joiner",
                "password": PASSWORD,
                "account_domain": "CORP",
                "ou": "OU=Servers,DC=corp,DC=example,DC=com",
            }
        }
    ),
    "workgroup": Case({"workgroup": "LAB"}),
    "product_key": Case({"product_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"}),
    "organization": Case({"organization": "Example & Co"}),
    "owner": Case({"owner": "Operations"}),
    "skip_oobe": Case({"skip_oobe": False, "computer_name": "WEB1"}),
    "architecture": Case({"architecture": "arm64", "computer_name": "WEB1"}),
    "interfaces": Case(
        {
            "interfaces": [
                {
                    "mac": "52:54:00:12:34:56",
                    "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
                    "gateway4": "192.0.2.1",
                    "gateway6": "2001:db8::1",
                    "nameservers": ["192.0.2.53", "2001:db8::53"],
                    "search": ["example.com", "example.net"],
                    "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.254"}],
                },
                {"mac": "52-54-00-AB-CD-EF", "dhcp4": True, "dhcp6": True, "search": ["example.net"]},
            ]
        }
    ),
    "network": Case(
        {"computer_name": "WEB1"},
        network={
            "version": 2,
            "ethernets": {"lan": {"match": {"macaddress": "52:54:00:12:34:56"}, "addresses": ["2001:db8::10/64"]}},
        },
    ),
    "winrm_prep": Case({"winrm_prep": {"allowed_addresses": ["192.0.2.10"]}}),
    "scrub": Case({**ADMINISTRATOR, "scrub": True}),
    "files": Case({"computer_name": "WEB1"}, files=(GuestFile("C:\\Tools\\motd.txt", b"hello\n"),)),
    "fresh-accept_eula": fresh(),
    "fresh-disk": fresh(disk={"number": 1, "firmware": "bios"}),
    "fresh-image": fresh(image={"name": "Windows Server 2022 SERVERSTANDARD"}),
    "fresh-image-index": fresh(image={"index": 2}),
    "fresh-driver_paths": fresh(driver_paths=["E:\\viostor\\2k22\\amd64", "E:\\NetKVM\\2k22\\amd64"]),
    "fresh-product_key": fresh(product_key="AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", owner="Operations", organization="Example"),
    "fresh-locales": fresh(input_locale="de-DE", system_locale="de-DE", ui_language="de-DE", user_locale="de-DE"),
}


def answer_file(case: Case) -> bytes:
    return build_sysprep(case.customization, VM).files[0].content


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, case in CASES.items():
        (FOLDER / f"{name}.xml").write_bytes(answer_file(case))
