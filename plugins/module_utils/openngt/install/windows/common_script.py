# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installer on the disc and the fleet's program in a Windows guest have in common, in PowerShell 3.0.

Text in a module, as only that travels with the library. No word in it is of a later PowerShell, and all of it is ASCII.
"""

from __future__ import annotations

__all__ = ["COMMON"]

COMMON = r"""
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Windows' own folder for programs, also for a PowerShell of 32 bits.
$Programs = $env:ProgramFiles
if ($env:ProgramW6432) { $Programs = $env:ProgramW6432 }
$AgentHome = Join-Path $Programs 'openngt'
$Pythons = Join-Path $AgentHome 'python'
$Ngtcli = Join-Path $AgentHome 'ngtcli.cmd'
$DataHome = Join-Path $env:ProgramData 'openngt'
$ServiceName = 'Nutanix Guest Agent'
$AgentOnDisc = 'agent\ngt_agent.pyz'
$PythonOnDisc = 'extras\windows\python.zip'
$Slots = @('config/ngt_config.json', 'config/client.pem', 'config/ca.pem')
# SYSTEM and Administrators may do everything, nobody else anything; nothing is inherited.
$PrivateAcl = 'O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)'
$Owners = @('S-1-5-18', 'S-1-5-32-544')

function Stop-With([string] $Code, [string] $Message) {
    # The code stands in front, so that whoever catches it finds it again.
    throw "${Code}|${Message}"
}

function Split-Failure($Record) {
    # Code and message of what was thrown; what nobody has named is COMMAND_FAILED.
    $text = [string] $Record.Exception.Message
    if ($text -cmatch '^([A-Z][A-Z_]+)\|(?s)(.*)$') { return @{ code = $Matches[1]; message = $Matches[2] } }
    return @{ code = 'COMMAND_FAILED'; message = $text }
}

function Test-Elevated {
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $principal = New-Object Security.Principal.WindowsPrincipal $identity
    return $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
}

function Get-VmUuid {
    # As SMBIOS has it; its first three fields are little-endian in the firmware, and Windows has turned them already.
    $product = Get-WmiObject -Class Win32_ComputerSystemProduct
    return ([string] $product.UUID).ToLower()
}

function Get-Sha256([string] $Path) {
    # Get-FileHash came with PowerShell 4.0.
    $algorithm = [Security.Cryptography.SHA256]::Create()
    $stream = [IO.File]::OpenRead($Path)
    try { $hash = $algorithm.ComputeHash($stream) } finally { $stream.Dispose() }
    return [BitConverter]::ToString($hash).Replace('-', '').ToLower()
}

function Get-SlotSha256([string] $Path) {
    # A slot of the disc is padded with newlines, which do not count.
    $bytes = [IO.File]::ReadAllBytes($Path)
    $length = $bytes.Length
    while ($length -gt 0 -and $bytes[$length - 1] -eq 10) { $length-- }
    $hash = [Security.Cryptography.SHA256]::Create().ComputeHash($bytes, 0, $length)
    return [BitConverter]::ToString($hash).Replace('-', '').ToLower()
}

function Read-Manifest([string] $Root) {
    # The manifest of a tools disc, or nothing. Whether it may be believed, the agent judges.
    $path = Join-Path $Root 'manifest.json'
    if (-not (Test-Path -LiteralPath $path)) { return $null }
    try {
        $found = [IO.File]::ReadAllText($path) | ConvertFrom-Json
        if ($found.format -eq 'openngt-manifest-1') { return $found }
    } catch { return $null }
    return $null
}

function Find-Disc([string] $Label) {
    # Root folder of this VM's newest tools disc; by the label first, then by the manifest alone.
    $uuid = Get-VmUuid
    $others = @()
    $drives = @(Get-WmiObject -Class Win32_LogicalDisk -Filter 'DriveType = 5' | Where-Object { $_.VolumeName })
    $order = @(@{ Expression = { $_.VolumeName -ne $Label } }, 'DeviceID')
    $drives = @($drives | Sort-Object -Property $order)
    $best = $null
    foreach ($drive in $drives) {
        $root = $drive.DeviceID + '\'
        $manifest = Read-Manifest $root
        if ($manifest -eq $null) { continue }
        if ($manifest.vm_uuid -ne $uuid) { $others += ($manifest.vm_uuid + ' in ' + $root); continue }
        if ($best -eq $null -or $manifest.generation -gt $best.generation) {
            $best = @{ root = $root; generation = $manifest.generation; manifest = $manifest }
        }
    }
    if ($best -ne $null) { return $best }
    if ($others.Count -gt 0) {
        Stop-With 'DISC_OF_ANOTHER_VM' ("this VM is $uuid; the tools discs are of " + ($others -join ', '))
    }
    Stop-With 'DISC_NOT_FOUND' "no CD-ROM drive of this guest holds a tools disc (label $Label)"
}

function Wait-Disc([string] $Label, [int] $Attempts) {
    # A disc that was inserted this moment is waited for.
    for ($attempt = 1; $attempt -lt $Attempts; $attempt++) {
        try { return Find-Disc $Label } catch { Start-Sleep -Seconds 1 }
    }
    return Find-Disc $Label
}

function Test-Disc($Disc) {
    # Every file that the manifest names is as it says; DISC_INVALID names the first that is not.
    foreach ($file in $Disc.manifest.files) {
        $path = Join-Path $Disc.root ($file.path.Replace('/', '\'))
        if (-not (Test-Path -LiteralPath $path -PathType Leaf)) {
            Stop-With 'DISC_INVALID' ($file.path + ' is missing')
        }
        if ($Slots -contains $file.path) { $hash = Get-SlotSha256 $path } else { $hash = Get-Sha256 $path }
        if ($hash -ne $file.sha256) { Stop-With 'DISC_INVALID' ($file.path + ' is not what the manifest says') }
    }
}

function Get-Entry($Disc, [string] $Path) {
    # What the manifest says of a file; nothing when the disc does not carry it.
    $name = $Path.Replace('\', '/')
    return $Disc.manifest.files | Where-Object { $_.path -eq $name } | Select-Object -First 1
}

function New-PrivateFolder([string] $Path, [string] $Sddl = $PrivateAcl) {
    # For SYSTEM and Administrators alone, before anything is put there. A folder that is somebody else's is refused:
    # its owner could open it again.
    $acl = New-Object Security.AccessControl.DirectorySecurity
    $acl.SetSecurityDescriptorSddlForm($Sddl)
    if (-not (Test-Path -LiteralPath $Path)) {
        [void] [IO.Directory]::CreateDirectory($Path, $acl)
        return
    }
    $folder = Get-Item -LiteralPath $Path -Force
    $owner = $folder.GetAccessControl().GetOwner([Security.Principal.SecurityIdentifier]).Value
    if (($folder.Attributes -band [IO.FileAttributes]::ReparsePoint) -or ($Owners -notcontains $owner)) {
        Stop-With 'PERMISSION_DENIED' "$Path belongs to somebody else; remove it, or give it to Administrators"
    }
    $folder.SetAccessControl($acl)
}

function Copy-Checked([string] $From, [string] $To, [string] $Sha256) {
    # Copied first, and the copy judged: a disc can change under its reader.
    [IO.File]::Copy($From, $To, $true)
    # What is on a disc is read-only, and its copy would be so too.
    [IO.File]::SetAttributes($To, [IO.FileAttributes]::Normal)
    if ((Get-Sha256 $To) -ne $Sha256) { Stop-With 'DISC_INVALID' ($From + ' is not the file that is asked for') }
}

function Install-Python($Disc, [string] $Sha256) {
    # The path of the agent's own Python, unpacked from the disc unless this very one is there already.
    New-PrivateFolder $AgentHome
    New-PrivateFolder $Pythons
    $folder = Join-Path $Pythons $Sha256.Substring(0, 16)
    $python = Join-Path $folder 'python.exe'
    if (Test-Path -LiteralPath $python) { return $python }
    $work = Join-Path $Pythons ('.unfinished-' + [Guid]::NewGuid().ToString())
    New-PrivateFolder $work
    try {
        $zip = Join-Path $work 'python.zip'
        Copy-Checked (Join-Path $Disc.root $PythonOnDisc) $zip $Sha256
        Add-Type -AssemblyName System.IO.Compression.FileSystem
        $inside = Join-Path $work 'python'
        [IO.Compression.ZipFile]::ExtractToDirectory($zip, $inside)
        if (Test-Path -LiteralPath $folder) { Remove-Item -LiteralPath $folder -Recurse -Force }
        [IO.Directory]::Move($inside, $folder)
    } finally {
        Remove-Item -LiteralPath $work -Recurse -Force -ErrorAction SilentlyContinue
    }
    return $python
}

function Invoke-Program([string] $Program, [string] $Arguments) {
    # What a program prints and its exit status. PowerShell itself would take a word on its stderr for an error.
    $start = New-Object Diagnostics.ProcessStartInfo $Program, $Arguments
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.RedirectStandardInput = $true
    $process = [Diagnostics.Process]::Start($start)
    $process.StandardInput.Close()
    $errors = $process.StandardError.ReadToEndAsync()
    $output = $process.StandardOutput.ReadToEnd()
    $process.WaitForExit()
    return @{ status = $process.ExitCode; output = $output; errors = $errors.Result }
}

function Invoke-Agent([string] $Python, [string] $Zipapp, [string] $Arguments) {
    # The answer of one of the agent's commands: the object on the last line that it prints.
    $done = Invoke-Program $Python ('-I -B "' + $Zipapp + '" ' + $Arguments + ' --output json')
    $lines = @($done.output.Trim() -split "`r?`n")
    try { $answer = $lines[$lines.Count - 1] | ConvertFrom-Json } catch { $answer = $null }
    if ($answer -eq $null) {
        $last = $done.errors.Trim()
        if ($last.Length -gt 2000) { $last = $last.Substring($last.Length - 2000) }
        Stop-With 'COMMAND_FAILED' ('the agent gave no answer, exit status ' + $done.status + ': ' + $last)
    }
    return @{ answer = $answer; progress = $done.errors }
}

function Get-AgentStatus {
    # What an installed agent says of itself; nothing where there is none, or none that answers.
    if (-not (Test-Path -LiteralPath $Ngtcli)) { return $null }
    try {
        $done = Invoke-Program "$env:SystemRoot\System32\cmd.exe" ('/d /c ""' + $Ngtcli + '" status --output json"')
        $lines = @($done.output.Trim() -split "`r?`n")
        $answer = $lines[$lines.Count - 1] | ConvertFrom-Json
        if ($answer.agent_version) { return $answer }
    } catch { return $null }
    return $null
}

function Get-ServiceCommand([string] $Name) {
    # The command line that a service is started by; nothing where there is no such service.
    $key = 'HKLM:\SYSTEM\CurrentControlSet\Services\' + $Name
    if (-not (Test-Path -LiteralPath $key)) { return $null }
    $found = Get-ItemProperty -LiteralPath $key -Name 'ImagePath' -ErrorAction SilentlyContinue
    if ($found -eq $null) { return $null }
    return [string] $found.ImagePath
}

function Test-Net45 {
    # Zip files and programs' output are read by what .NET 4.5 brought; Windows 8 and Server 2012 have it.
    $key = 'HKLM:\SOFTWARE\Microsoft\NET Framework Setup\NDP\v4\Full'
    if (-not (Test-Path -LiteralPath $key)) { return $false }
    return (Get-ItemProperty -LiteralPath $key -Name 'Release' -ErrorAction SilentlyContinue) -ne $null
}

function Get-OtherTools {
    # Services of another vendor's guest tools, which own the names of ours.
    $found = @()
    foreach ($name in @($ServiceName, 'Nutanix Self Service Restore Gateway')) {
        $command = Get-ServiceCommand $name
        if ($command -and $command.ToLower().IndexOf($AgentHome.ToLower()) -lt 0) { $found += "${name}: $command" }
    }
    return $found
}
"""
