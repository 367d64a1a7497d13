# SPDX-License-Identifier: GPL-3.0-or-later
"""The installer that a person starts in a Windows guest, as it stands on the tools ISO."""

from __future__ import annotations

from ...errors import REMEDIES
from .common_script import COMMON
from .removal_script import REMOVAL

__all__ = ["install_ngt_ps1", "setup_cmd"]

HEAD = r"""# SPDX-License-Identifier: GPL-3.0-or-later
# Installs, upgrades or uninstalls the guest agent of openngt from the tools disc that this script stands on.
# PowerShell 3.0 or newer, elevated:
#   powershell.exe -NoProfile -ExecutionPolicy Bypass -File D:\installer\windows\install_ngt.ps1 -Operation install
# Exit status, as MSI has it: 0 done; 3010 done, and the guest has to be restarted; 1641 done, and the guest restarts;
# 5 not elevated; 1603 failed, and the code before the colon says why.
param(
    [ValidateSet('install', 'upgrade', 'uninstall')] [string] $Operation = 'install',
    [ValidatePattern('^([0-9a-fA-F]{64})?$')] [string] $CaSha256 = '',
    [ValidateRange(0, 86400)] [int] $WaitSeconds = 60,
    [ValidatePattern('^[A-Z0-9_]{1,16}$')] [string] $Label = 'NUTANIX_TOOLS',
    [switch] $Restart,
    [switch] $Interactive
)
"""

BODY = r"""
$Done, $RestartNeeded, $RestartBegun, $NotElevated, $Failed = 0, 3010, 1641, 5, 1603
$Remedies = @{
%(remedies)s}
$LogFile = $null

function Say([string] $Line) {
    Write-Host $Line
    if ($LogFile -ne $null) {
        $stamp = [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ')
        [IO.File]::AppendAllText($LogFile, "$stamp $Line`r`n")
    }
}

function Open-Log {
    # Everybody may see the agent's status, which is in the folder above; its logs are for administrators.
    New-PrivateFolder $DataHome ($PrivateAcl + '(A;OICI;0x1200a9;;;BU)')
    $logs = Join-Path $DataHome 'Logs'
    New-PrivateFolder $logs
    return Join-Path $logs 'install.log'
}

function Find-OwnDisc {
    # The disc that this script stands on, or the one with the label.
    $root = Split-Path -Parent (Split-Path -Parent $PSScriptRoot)
    if ($root) {
        $manifest = Read-Manifest $root
        if ($manifest -ne $null) { return @{ root = $root; manifest = $manifest } }
    }
    return Wait-Disc $Label 3
}

function Show-Progress([string] $Text) {
    foreach ($line in @($Text.Trim() -split "`r?`n")) { if ($line) { Say $line } }
}

function Install-Agent {
    # Returns nothing; the agent's own installer, run by the Python of the disc, does what is specific to the agent.
    $others = @(Get-OtherTools)
    if ($others.Count -gt 0) { Stop-With 'OTHER_TOOLS_PRESENT' ($others -join '; ') }
    if ($Operation -eq 'upgrade' -and -not (Get-ServiceCommand $ServiceName)) {
        Stop-With 'AGENT_NOT_INSTALLED' 'there is no agent to upgrade; -Operation install installs one'
    }
    $disc = Find-OwnDisc
    Say ('Tools disc: ' + $disc.root)
    if ($disc.manifest.vm_uuid -ne (Get-VmUuid)) {
        $made = 'the disc was made for VM ' + $disc.manifest.vm_uuid
        Stop-With 'DISC_OF_ANOTHER_VM' ($made + '; this is ' + (Get-VmUuid))
    }
    $carried = Get-Entry $disc $PythonOnDisc
    if ($carried -eq $null) { Stop-With 'WINDOWS_PYTHON_MISSING' 'this disc carries no Python for Windows' }
    if (-not (Test-Net45)) { Stop-With 'PREREQUISITES_NOT_MET' 'the installer needs .NET Framework 4.5 or newer' }
    $agent = Get-Entry $disc $AgentOnDisc
    if ($agent -eq $null) { Stop-With 'DISC_INVALID' 'the disc carries no agent; it is for one that is installed' }
    Test-Disc $disc
    $python = Install-Python $disc $carried.sha256
    $work = Join-Path $AgentHome ('.installer-' + [Guid]::NewGuid().ToString())
    New-PrivateFolder $work
    try {
        $zipapp = Join-Path $work 'ngt_agent.pyz'
        Copy-Checked (Join-Path $disc.root $AgentOnDisc) $zipapp $agent.sha256
        $source = $disc.root.TrimEnd('\') + '\.'
        $arguments = 'install --source "' + $source + '" --wait ' + $WaitSeconds
        if ($CaSha256) { $arguments += ' --ca-sha256 ' + $CaSha256.ToLower() }
        $told = Invoke-Agent $python $zipapp $arguments
    } finally {
        Remove-Item -LiteralPath $work -Recurse -Force -ErrorAction SilentlyContinue
    }
    Show-Progress $told.progress
    if (-not $told.answer.ok) { Stop-WithAnswer $told.answer }
    if ($told.answer.changed) { Say ('Done: ' + ($told.answer.steps -join ', ')) } else { Say 'Nothing to do.' }
}

function Uninstall-Agent {
    # Whether something waits for a restart of the guest.
    $others = @(Get-OtherTools)
    if ($others.Count -gt 0) { Say ('Left alone, as another vendor''s: ' + ($others -join '; ')) }
    Say 'Nutanix VirtIO drivers and VM Mobility stay as they are: without them this guest may not start.'
    if (-not (Test-Path -LiteralPath $AgentHome)) { Say 'Nothing to do.'; return $false }
    $removed = Remove-Agent
    Show-Progress $removed.progress
    if (-not $removed.restart) { Say 'Done: the agent and its Python are removed.'; return $false }
    Say "$AgentHome is in use by somebody; what is left goes with the next restart."
    return $true
}

function Start-Elevated {
    # Ask once (UAC), and do the same there. The exit status is that of the elevated one.
    $arguments = '-NoProfile -ExecutionPolicy Bypass -File "' + $PSCommandPath + '" -Interactive'
    $arguments += ' -Operation ' + $Operation
    $arguments += ' -WaitSeconds ' + $WaitSeconds + ' -Label ' + $Label
    if ($CaSha256) { $arguments += ' -CaSha256 ' + $CaSha256 }
    if ($Restart) { $arguments += ' -Restart' }
    $process = Start-Process -FilePath "$PSHOME\powershell.exe" -ArgumentList $arguments -Verb RunAs -Wait -PassThru
    return $process.ExitCode
}

function Complete([bool] $WaitsForRestart) {
    if (-not $WaitsForRestart) { return $Done }
    if (-not $Restart) { Say 'Restart the guest to finish.'; return $RestartNeeded }
    Say 'The guest restarts in 30 seconds.'
    [void] (Invoke-Program "$env:SystemRoot\System32\shutdown.exe" '/r /t 30 /c "openngt: removal of the guest agent"')
    return $RestartBegun
}

function Main {
    if (-not (Test-Elevated)) {
        if ($Interactive) { return Start-Elevated }
        Say 'PERMISSION_DENIED: start this in an elevated PowerShell (Run as administrator)'
        return $NotElevated
    }
    try {
        if ($Operation -eq 'uninstall') { $waits = Uninstall-Agent } else {
            $script:LogFile = Open-Log
            Install-Agent
            $waits = $false
        }
        $status = Complete $waits
    } catch {
        $failure = Split-Failure $_
        Say ($failure.code + ': ' + $failure.message)
        if ($Remedies.ContainsKey($failure.code)) { Say $Remedies[$failure.code] }
        $status = $Failed
    }
    if ($Interactive) { [void] (Read-Host 'Press Enter to close this window') }
    return $status
}

exit (Main)
"""

SETUP = r"""@echo off
rem SPDX-License-Identifier: GPL-3.0-or-later
rem Installs the guest agent of openngt. Double-clicked, it asks for elevation.
rem For its options see installer\windows\install_ngt.ps1.
set "powershell=%SystemRoot%\System32\WindowsPowerShell\v1.0\powershell.exe"
set "script=%~dp0installer\windows\install_ngt.ps1"
if "%~1"=="" (
    "%powershell%" -NoProfile -ExecutionPolicy Bypass -File "%script%" -Interactive
) else (
    "%powershell%" -NoProfile -ExecutionPolicy Bypass -File "%script%" %*
)
exit /b %errorlevel%
"""

CODES = (
    "AGENT_FAILED",
    "AGENT_NOT_INSTALLED",
    "COMMAND_FAILED",
    "DISC_EXPIRED",
    "DISC_INVALID",
    "DISC_NOT_FOUND",
    "DISC_OF_ANOTHER_VM",
    "DISC_OLDER",
    "DISC_UNTRUSTED",
    "LINK_NOT_ACTIVE",
    "NO_SPACE",
    "OTHER_TOOLS_PRESENT",
    "PERMISSION_DENIED",
    "PREREQUISITES_NOT_MET",
    "WINDOWS_PYTHON_MISSING",
)
"""Whose remedies a person in front of the guest is told."""


def install_ngt_ps1() -> bytes:
    """The content of `installer/windows/install_ngt.ps1`: ASCII, with Windows' line ends."""
    remedies = "".join(f"    {code} = '{quoted(REMEDIES[code])}'\n" for code in CODES)
    return _for_windows(HEAD + COMMON + REMOVAL + BODY.replace("%(remedies)s", remedies))


def setup_cmd() -> bytes:
    """The content of `setup.cmd`, in the root of the disc."""
    return _for_windows(SETUP)


def quoted(text: str) -> str:
    """For between single quotes of PowerShell."""
    return text.replace("'", "''")


def _for_windows(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("ascii")
