# SPDX-License-Identifier: GPL-3.0-or-later
"""What a customization disc runs in a Windows guest, in PowerShell 3.0, and the command lines that start it.

Text in a module, as only that travels with the library. All of it is ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .winrm_prep_script import WINRM_PREP_SCRIPT

__all__ = [
    "ANSWER_FILE_COPIES",
    "LABEL",
    "SCRUB",
    "SCRUB_COMMAND",
    "SPECIALIZE",
    "SPECIALIZE_COMMAND",
    "WINRM_COMMAND",
    "winrm_script",
]

LABEL = "OPENNGT_SETUP"
"""Of the disc. Windows finds an answer file by its name, our command finds the rest by this."""
STAGED = r"%WINDIR%\Setup\openngt"
"""Where first-logon commands find what they run, though the disc may be gone. Only administrators write there."""

ANSWER_FILE_COPIES = (
    r"Panther\unattend.xml",
    r"Panther\unattend-original.xml",
    r"Panther\autounattend.xml",
    r"Panther\Unattend\unattend.xml",
    r"Panther\Unattend\autounattend.xml",
    r"System32\Sysprep\unattend.xml",
    r"System32\Sysprep\Panther\unattend.xml",
)
"""Below %WINDIR%: where Windows keeps answer files, with their passwords in some versions. Source: "Windows Setup
Automation Overview" on Microsoft Learn (search order and cached answer files), which also says to delete them.
"""

# 259 characters is the most that the setting takes.
SPECIALIZE_COMMAND = (
    "powershell.exe -NoProfile -ExecutionPolicy Bypass -Command "
    "\"$d=@(Get-WmiObject -Class Win32_LogicalDisk|Where-Object{$_.VolumeName -eq '" + LABEL + "'})[0].DeviceID;"
    "& ($d+'\\openngt\\specialize.ps1')\""
)


def _staged(script: str, output: str) -> str:
    run = rf"powershell.exe -NoProfile -ExecutionPolicy Bypass -File {STAGED}\{script}"
    return rf"cmd.exe /c {run} > {STAGED}\{output} 2>&1"


WINRM_COMMAND = _staged("winrm_prep.ps1", "winrm_prep.json")
SCRUB_COMMAND = _staged("scrub.ps1", "scrub.log")

SPECIALIZE = r"""# SPDX-License-Identifier: GPL-3.0-or-later
# Runs as SYSTEM before anybody can log on: copies what this disc brings into the guest.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Staged = Join-Path -Path $env:WINDIR -ChildPath 'Setup\openngt'
[void] [System.IO.Directory]::CreateDirectory($Staged)
$Log = Join-Path -Path $Staged -ChildPath 'specialize.log'

function Write-Said([string] $Text) {
    $now = Get-Date -Format 's'
    [System.IO.File]::AppendAllText($Log, "$now $Text`r`n")
}

function Copy-One([string] $Source, [string] $Target) {
    $from = Join-Path -Path $PSScriptRoot -ChildPath $Source
    [void] [System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($Target))
    [System.IO.File]::Copy($from, $Target, $true)
    # What comes from a disc is read-only.
    [System.IO.File]::SetAttributes($Target, 'Normal')
}

foreach ($name in @('winrm_prep.ps1', 'scrub.ps1')) {
    $carried = Join-Path -Path $PSScriptRoot -ChildPath $name
    if (Test-Path -LiteralPath $carried) {
        $target = Join-Path -Path $Staged -ChildPath $name
        Copy-One -Source $name -Target $target
    }
}
$listing = Join-Path -Path $PSScriptRoot -ChildPath 'files.json'
$listed = [System.IO.File]::ReadAllText($listing) | ConvertFrom-Json
foreach ($file in @($listed.files)) {
    # One that cannot be written must not keep the others, or Windows, from being set up.
    try {
        Copy-One -Source $file.source -Target $file.path
        Write-Said -Text "copied $($file.path)"
    } catch {
        Write-Said -Text "ERROR $($file.path): $($_.Exception.Message)"
    }
}
exit 0
"""

SCRUB = (
    r"""# SPDX-License-Identifier: GPL-3.0-or-later
# Deletes the copies of the answer file that Windows keeps, as they may hold passwords.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$copies = @(
"""
    + ",\n".join(f"    '{path}'" for path in ANSWER_FILE_COPIES)
    + r"""
)
$left = 0
foreach ($copy in $copies) {
    $path = Join-Path -Path $env:WINDIR -ChildPath $copy
    if (Test-Path -LiteralPath $path) {
        try {
            Remove-Item -LiteralPath $path -Force
            "deleted $path"
        } catch {
            $left = 1
            "ERROR $path - $($_.Exception.Message)"
        }
    }
}
exit $left
"""
)


def winrm_script(asked: Any, names: Sequence[str]) -> str:
    """The script of the role `winrm_prep` with its arguments, as `options.winrm_prep` asks for it.

    `names` are taken where none are asked for. The first line is what Cloudbase-Init wants; PowerShell reads over it.
    """
    given: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
    arguments = [
        _list("Names", given.get("names") or names),
        _list("AllowedAddresses", given.get("allowed_addresses") or ["LocalSubnet"]),
    ]
    if given.get("basic"):
        arguments.append("-Basic")
    if given.get("local_account_token_filter_policy"):
        arguments.append("-LocalAccountTokenFilterPolicy")
    head = "#ps1_sysnative\n# The role winrm_prep of openngt.guest_tools. SPDX-License-Identifier: GPL-3.0-or-later\n"
    return head + "& {\n" + WINRM_PREP_SCRIPT + "} " + " ".join(arguments) + "\n"


def _list(parameter: str, values: Sequence[str]) -> str:
    # No quoting: `windows_options` lets no quote through.
    return f"-{parameter} @({', '.join(repr(value) for value in values)})"
