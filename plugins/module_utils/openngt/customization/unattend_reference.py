# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows' answer files as Microsoft documents them: passes, components, and which settings are valid where.

Source: "Unattended Windows Setup Reference" on Microsoft Learn, one page for each component and setting, below
https://learn.microsoft.com/windows-hardware/customize/desktop/unattend/ (read in November 2026). It is not the whole of
it: what is missing here is not judged.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "ARCHITECTURES",
    "COMPONENTS",
    "DEPRECATED",
    "NAMESPACE",
    "PASSES",
    "PUBLIC_KEY_TOKEN",
    "REFERENCE",
    "SETTINGS",
    "VERSION_SCOPES",
    "WCM",
    "Component",
]

REFERENCE = "https://learn.microsoft.com/windows-hardware/customize/desktop/unattend/"
NAMESPACE = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
PUBLIC_KEY_TOKEN = "31bf3856ad364e35"  # noqa: S105 - it is printed on every page of the reference
ARCHITECTURES = ("amd64", "x86", "arm64", "arm", "wow64", "ia64")
VERSION_SCOPES = ("nonSxS", "SxS")

PASSES = ("windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem")
"""In the order in which they run ("How Configuration Passes Work")."""


class Component(NamedTuple):
    passes: frozenset[str]
    page: str
    """Below REFERENCE."""


def _component(name: str, *passes: str) -> tuple[str, Component]:
    return name, Component(frozenset(passes), name.lower())


COMPONENTS = dict(
    [
        _component(
            "Microsoft-Windows-Deployment", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem"
        ),
        _component("Microsoft-Windows-DNS-Client", "specialize"),
        _component("Microsoft-Windows-International-Core", "specialize", "oobeSystem"),
        _component("Microsoft-Windows-International-Core-WinPE", "windowsPE"),
        _component("Microsoft-Windows-PnpCustomizationsNonWinPE", "offlineServicing", "auditSystem"),
        _component("Microsoft-Windows-PnpCustomizationsWinPE", "windowsPE"),
        _component("Microsoft-Windows-PnpSysprep", "generalize"),
        _component("Microsoft-Windows-Setup", "windowsPE"),
        _component(
            "Microsoft-Windows-Shell-Setup",
            "offlineServicing",
            "generalize",
            "specialize",
            "auditSystem",
            "auditUser",
            "oobeSystem",
        ),
        _component("Microsoft-Windows-TCPIP", "windowsPE", "specialize"),
        _component("Microsoft-Windows-UnattendedJoin", "offlineServicing", "specialize"),
    ]
)
"""Those that this project writes or that people put into the wrong pass most often."""

_ACCOUNTS = frozenset({"auditSystem", "oobeSystem"})
_COMMANDS = frozenset({"specialize", "auditUser"})
SETTINGS = {
    ("Microsoft-Windows-Deployment", "RunAsynchronous"): _COMMANDS,
    ("Microsoft-Windows-Deployment", "RunSynchronous"): _COMMANDS,
    ("Microsoft-Windows-Shell-Setup", "AutoLogon"): frozenset({"specialize", "auditSystem", "oobeSystem"}),
    ("Microsoft-Windows-Shell-Setup", "ComputerName"): frozenset({"offlineServicing", "specialize"}),
    ("Microsoft-Windows-Shell-Setup", "FirstLogonCommands"): frozenset({"oobeSystem"}),
    ("Microsoft-Windows-Shell-Setup", "LogonCommands"): frozenset({"oobeSystem"}),
    ("Microsoft-Windows-Shell-Setup", "OOBE"): frozenset({"oobeSystem"}),
    ("Microsoft-Windows-Shell-Setup", "ProductKey"): frozenset({"specialize"}),
    ("Microsoft-Windows-Shell-Setup", "UserAccounts"): _ACCOUNTS,
    ("Microsoft-Windows-UnattendedJoin", "Identification"): frozenset({"specialize"}),
}
"""Component and the first element below it -> its passes, where they are fewer than the component's."""

DEPRECATED = {
    ("Microsoft-Windows-Shell-Setup", "OOBE", "SkipMachineOOBE"): "hide each page instead (HideEULAPage, …)",
    ("Microsoft-Windows-Shell-Setup", "OOBE", "SkipUserOOBE"): "hide each page instead (HideEULAPage, …)",
    ("Microsoft-Windows-Shell-Setup", "OOBE", "NetworkLocation"): "leave it out: Windows 10 and newer do not read it",
}
