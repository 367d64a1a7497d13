# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's program in a Windows guest: one conversation over one WinRM shell (fleet/guest_program.py has its lines).

It tells facts, and the controller judges them (`prerequisites.py`): so the decisions are where they can be tested.
"""

from __future__ import annotations

from .common_script import COMMON

__all__ = ["GUEST_PROGRAM"]

GUEST_PROGRAM = (
    COMMON
    + r"""
$LineLimit = 8388608

function ConvertTo-Line($Answer) {
    # One line of ASCII, whatever the console's code page is.
    $json = ConvertTo-Json -InputObject $Answer -Compress -Depth 8
    $pattern = New-Object Text.RegularExpressions.Regex '[^\x20-\x7e]'
    return $pattern.Replace($json, { '\u{0:x4}' -f [int] [char] $args[0].Value })
}

function Say($Answer) {
    [Console]::Out.WriteLine((ConvertTo-Line $Answer))
    [Console]::Out.Flush()
}

function Hear([int] $Seconds) {
    # The controller's next line; nothing after the last one. A controller that is silent for so long is gone, and a
    # read that is under way cannot be ended but with this process.
    $watch = [PowerShell]::Create()
    $end = 'param($seconds) Start-Sleep -Seconds $seconds; [Environment]::Exit(1)'
    [void] $watch.AddScript($end).AddArgument($Seconds)
    [void] $watch.BeginInvoke()
    try { $line = [Console]::In.ReadLine() } finally {
        $watch.Stop()
        $watch.Dispose()
    }
    if ($line -ne $null -and $line.Length -gt $LineLimit) { Stop-With 'PROTOCOL_ERROR' 'the controller says too much' }
    return $line
}

function Get-FreeMb([string] $Path) {
    $drive = New-Object IO.DriveInfo ([IO.Path]::GetPathRoot($Path))
    return [Math]::Floor($drive.AvailableFreeSpace / 1048576)
}

function Get-EndpointError($Gateway) {
    # Why the gateway is not reached by one TCP connection of 5 seconds; nothing when it is, or nobody asked.
    if ($Gateway -eq $null) { return $null }
    $client = New-Object Net.Sockets.TcpClient
    try {
        $attempt = $client.BeginConnect($Gateway.host, $Gateway.port, $null, $null)
        if (-not $attempt.AsyncWaitHandle.WaitOne(5000)) { return 'no answer within 5 s' }
        $client.EndConnect($attempt)
    } catch {
        return $_.Exception.GetBaseException().Message
    } finally {
        $client.Close()
    }
    return $null
}

function Get-Facts($Header) {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $windows = Get-ItemProperty -LiteralPath $key
    $onPath = @(Get-Command -Name 'powershell.exe' -CommandType Application -ErrorAction SilentlyContinue)
    return @{
        powershell = $PSVersionTable.PSVersion.ToString()
        powershell_on_path = $onPath.Count -gt 0
        net45 = Test-Net45
        elevated = Test-Elevated
        user = [Security.Principal.WindowsIdentity]::GetCurrent().Name
        windows_name = [string] $windows.ProductName
        windows_build = [string] $windows.CurrentBuildNumber
        windows_type = [string] $windows.InstallationType
        architecture = [string] $env:PROCESSOR_ARCHITECTURE
        free_mb = @{ programs = (Get-FreeMb $Programs); temporary = (Get-FreeMb ([IO.Path]::GetTempPath())) }
        programs = $Programs
        temporary = [IO.Path]::GetTempPath()
        other_tools = @(Get-OtherTools)
        vm_uuid = Get-VmUuid
        endpoint_error = Get-EndpointError $Header.gateway
    }
}

function Get-Leftovers {
    $found = @()
    foreach ($path in @($AgentHome, $DataHome)) { if (Test-Path -LiteralPath $path) { $found += $path } }
    $command = Get-ServiceCommand $ServiceName
    if ($command -and $command.ToLower().IndexOf($AgentHome.ToLower()) -ge 0) { $found += $ServiceName }
    return $found
}

function Get-Agent($Disc, $Header, [string] $Path) {
    # The agent that the controller knows: the disc's, or, where that is another version, the controller's own.
    $entry = Get-Entry $Disc $AgentOnDisc
    if ($entry -ne $null -and $entry.sha256 -eq $Header.agent_sha256) {
        Copy-Checked (Join-Path $Disc.root $AgentOnDisc) $Path $Header.agent_sha256
        return
    }
    Say @{ phase = 'install'; wants = 'agent' }
    $line = Hear $Header.silence_seconds
    if (-not $line) { [Environment]::Exit(1) }
    $packed = [Convert]::FromBase64String(($line | ConvertFrom-Json).agent)
    # zlib's head of two bytes is none of DEFLATE's.
    $inside = New-Object IO.MemoryStream ($packed, 2, ($packed.Length - 2))
    $inflated = New-Object IO.Compression.DeflateStream ($inside, [IO.Compression.CompressionMode]::Decompress)
    $file = [IO.File]::Create($Path)
    try { $inflated.CopyTo($file) } finally { $file.Dispose() }
    if ((Get-Sha256 $Path) -ne $Header.agent_sha256) { Stop-With 'PROTOCOL_ERROR' 'the agent did not arrive whole' }
}

function Install-FromDisc($Header, $Go) {
    if (-not (Test-Elevated)) { Stop-With 'PERMISSION_DENIED' 'to install the agent needs an administrator, elevated' }
    $disc = Wait-Disc $Header.label 20
    if (-not $Go.python_sha256) { Stop-With 'WINDOWS_PYTHON_MISSING' 'the service carries no Python for Windows' }
    $python = Install-Python $disc $Go.python_sha256
    $work = Join-Path $AgentHome ('.installer-' + [Guid]::NewGuid().ToString())
    New-PrivateFolder $work
    try {
        $zipapp = Join-Path $work 'ngt_agent.pyz'
        Get-Agent $disc $Header $zipapp
        $arguments = 'install --source "' + $disc.root.TrimEnd('\') + '\." --wait ' + $Header.wait_seconds
        $told = Invoke-Agent $python $zipapp ($arguments + ' --ca-sha256 ' + $Go.ca_sha256)
    } finally {
        Remove-Item -LiteralPath $work -Recurse -Force -ErrorAction SilentlyContinue
    }
    if (-not $told.answer.ok) {
        Say @{ phase = 'install'; error = $told.answer }
        return
    }
    Say @{ phase = 'install'; steps = @($told.answer.steps); agent = (Get-AgentStatus); warnings = @() }
}

function Converse {
    $phase = 'prerequisites'
    try {
        $line = Hear 60
        if (-not $line) { return }
        $header = $line | ConvertFrom-Json
        Say @{ phase = $phase; facts = (Get-Facts $header) }
        $phase = 'plan'
        Say @{ phase = $phase; agent = (Get-AgentStatus); leftovers = @(Get-Leftovers) }
        $line = Hear $header.silence_seconds
        if (-not $line -or -not $line.StartsWith('go ')) { return }
        $phase = 'install'
        Install-FromDisc $header ($line.Substring(3) | ConvertFrom-Json)
    } catch {
        Say @{ phase = $phase; error = (Split-Failure $_) }
    }
}

Converse
"""
)
