# SPDX-License-Identifier: GPL-3.0-or-later
# What is asked for.


function Test-Ip([string] $Text) {
    $parsed = $null
    return [System.Net.IPAddress]::TryParse($Text, [ref] $parsed) -and $Text -match '^(\d+\.){3}\d+$|:'
}

function Test-AllowedAddress([string] $Text) {
    if ($Text -eq 'any' -or $Text -eq 'LocalSubnet') { return $true }
    if ($Text -match '^([^/-]+)-([^/-]+)$') { return (Test-Ip -Text $Matches[1]) -and (Test-Ip -Text $Matches[2]) }
    if ($Text -match '^([^/]+)/(\d{1,3})$') {
        $most = 32
        if ($Matches[1].Contains(':')) { $most = 128 }
        return (Test-Ip -Text $Matches[1]) -and [int] $Matches[2] -le $most
    }
    return Test-Ip -Text $Text
}

function Assert-Input {
    $me = New-Object -TypeName System.Security.Principal.WindowsPrincipal -ArgumentList (
        [System.Security.Principal.WindowsIdentity]::GetCurrent())
    if (-not $me.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) {
        Stop-Prep -Code 'PERMISSION_DENIED' -Message 'this is no elevated administrator' -Remedy (
            'start PowerShell with "Run as administrator", or connect as an administrator')
    }
    if ($AllowedAddresses.Count -eq 0) {
        Stop-Prep -Code 'INVALID_INPUT' -Message 'AllowedAddresses is empty' -Remedy (
            'name the controllers, LocalSubnet, or any')
    }
    foreach ($address in $AllowedAddresses) {
        if (-not (Test-AllowedAddress -Text $address)) {
            $message = "AllowedAddresses: '$address' is no address, network or range"
            Stop-Prep -Code 'INVALID_INPUT' -Message $message -Remedy (
                'give 192.0.2.10, 192.0.2.0/24, 192.0.2.1-192.0.2.9, LocalSubnet or any')
        }
    }
    foreach ($name in $Names) {
        if (-not (Test-Ip -Text $name) -and $name -notmatch '^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$') {
            Stop-Prep -Code 'INVALID_INPUT' -Message "Names: '$name' is no host name and no address" -Remedy (
                'give what controllers connect to, web1.example.com or 192.0.2.11')
        }
    }
}

function Get-WantedName {
    $found = @($env:COMPUTERNAME)
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    if ($computer.PartOfDomain) { $found += "$env:COMPUTERNAME.$($computer.Domain)" }
    return @(@($found) + @($Names) | ForEach-Object -Process { $_.ToLowerInvariant() } | Sort-Object -Unique)
}

# The name by which certificates of ours are known tells for which names one is, also to the run after a kill.
function Get-FriendlyName([string[]] $For) {
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($For -join ',')
    $digest = [System.Security.Cryptography.SHA256]::Create().ComputeHash($bytes)
    return $CertificateName + ' ' + [BitConverter]::ToString($digest, 0, 6).Replace('-', '').ToLowerInvariant()
}
