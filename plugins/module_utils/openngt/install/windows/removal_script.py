# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent is taken out of a Windows guest, for the installer on the disc and for plays; follows COMMON."""

from __future__ import annotations

__all__ = ["REMOVAL"]

REMOVAL = r"""
function Stop-WithAnswer($Answer) {
    Stop-With ([string] $Answer.code) ([string] $Answer.message)
}

function Remove-Agent {
    # What was done, the agent's own words about it, and whether something waits for a restart of the guest.
    $python = Find-File $Pythons 'python.exe'
    $zipapp = Find-File (Join-Path $AgentHome 'agent') 'ngt_agent.pyz'
    $steps, $progress = @('service'), ''
    if ($python -ne $null -and $zipapp -ne $null) {
        $told = Invoke-Agent $python.FullName $zipapp.FullName 'uninstall'
        if (-not $told.answer.ok) { Stop-WithAnswer $told.answer }
        $steps, $progress = @($told.answer.steps), $told.progress
    } else {
        Remove-ServiceByHand
    }
    Remove-Item -LiteralPath $AgentHome -Recurse -Force -ErrorAction SilentlyContinue
    $restart = Test-Path -LiteralPath $AgentHome
    if ($restart) { Remove-AtRestart $AgentHome }
    return @{ steps = @($steps) + 'home'; progress = $progress; restart = $restart }
}

function Find-File([string] $Folder, [string] $Name) {
    # The first file of this name below a folder; nothing where there is none.
    if (-not (Test-Path -LiteralPath $Folder)) { return $null }
    return Get-ChildItem -LiteralPath $Folder -Filter $Name -Recurse | Select-Object -First 1
}

function Remove-ServiceByHand {
    # An installation that was damaged: there is no agent that could take itself away.
    $command = Get-ServiceCommand $ServiceName
    if ($command -and $command.ToLower().IndexOf($AgentHome.ToLower()) -ge 0) {
        Stop-Service -Name $ServiceName -Force -ErrorAction SilentlyContinue
        $done = Invoke-Program "$env:SystemRoot\System32\sc.exe" ('delete "' + $ServiceName + '"')
        if ($done.status -ne 0) { Stop-With 'COMMAND_FAILED' ('sc.exe delete: ' + $done.output.Trim()) }
    }
    if (Test-Path -LiteralPath $DataHome) { Remove-Item -LiteralPath $DataHome -Recurse -Force }
}

function Remove-AtRestart([string] $Folder) {
    # MoveFileEx with MOVEFILE_DELAY_UNTIL_REBOOT, the innermost first: a folder goes only when it is empty.
    $signature = '[DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]' +
        'public static extern bool MoveFileExW(string from, IntPtr to, int flags);'
    $kernel = Add-Type -MemberDefinition $signature -Name Kernel -Namespace OpenNGT -PassThru
    $items = @(Get-ChildItem -LiteralPath $Folder -Recurse -Force | ForEach-Object { $_.FullName })
    foreach ($path in @($items | Sort-Object -Property Length -Descending) + $Folder) {
        [void] $kernel::MoveFileExW($path, [IntPtr]::Zero, 4)
    }
}
"""
