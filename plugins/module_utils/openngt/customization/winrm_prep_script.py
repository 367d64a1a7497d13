# SPDX-License-Identifier: GPL-3.0-or-later
# fmt: off
"""Written by scripts/winrm_prep_script.py from roles/winrm_prep/files: change it there."""

from __future__ import annotations

__all__ = ["WINRM_PREP_SCRIPT"]

WINRM_PREP_SCRIPT = r"""
[CmdletBinding()]
param(
[ValidateSet('present', 'absent')] [string] $State = 'present',
[switch] $Check,
[string[]] $Names = @(),
[string[]] $AllowedAddresses = @('LocalSubnet'),
[switch] $Basic,
[switch] $LocalAccountTokenFilterPolicy,
[ValidateRange(1, 3650)] [int] $ValidityDays = 1000,
[ValidateRange(0, 3650)] [int] $RenewDays = 30,
[switch] $PinFirst
)
Set-StrictMode -Version 1.0
$ErrorActionPreference = 'Stop'
$Folder = Join-Path -Path $env:ProgramData -ChildPath 'openngt'
$StateFile = Join-Path -Path $Folder -ChildPath 'winrm_prep.json'
$RequestFile = Join-Path -Path $Folder -ChildPath 'winrm_prep.inf'
$MadeFile = Join-Path -Path $Folder -ChildPath 'winrm_prep.cer'
$Format = 'openngt-winrm-prep-1'
$CertificateName = 'openngt winrm_prep'
$RuleName = 'WinRM-HTTPS'
$TokenKey = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
$PolicyKey = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WinRM\Service'
$Warnings = New-Object -TypeName System.Collections.ArrayList
function Stop-Prep([string] $Code, [string] $Message, [string] $Remedy) {
$failure = New-Object -TypeName System.InvalidOperationException -ArgumentList $Message
$failure.Data['code'] = $Code
$failure.Data['remedy'] = $Remedy
throw $failure
}
function Add-Warning([string] $Text) {
if (-not $Warnings.Contains($Text)) { [void] $Warnings.Add($Text) }
}
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
function Get-FriendlyName([string[]] $For) {
$bytes = [System.Text.Encoding]::UTF8.GetBytes($For -join ',')
$digest = [System.Security.Cryptography.SHA256]::Create().ComputeHash($bytes)
return $CertificateName + ' ' + [BitConverter]::ToString($digest, 0, 6).Replace('-', '').ToLowerInvariant()
}
function Read-State {
$read = @{ former = @{}; applied = @{}; found = $false }
if (-not (Test-Path -LiteralPath $StateFile)) { return $read }
$owner = (Get-Acl -LiteralPath $StateFile).GetOwner([System.Security.Principal.SecurityIdentifier]).Value
if ($owner -ne 'S-1-5-18' -and $owner -ne 'S-1-5-32-544') {
$message = "$StateFile belongs to $owner, neither SYSTEM nor Administrators"
Stop-Prep -Code 'FILE_UNUSABLE' -Message $message -Remedy (
'look who has put it there, and remove it')
}
$known = [System.IO.File]::ReadAllText($StateFile) | ConvertFrom-Json
if ($known.format -ne $Format) {
Stop-Prep -Code 'FILE_UNUSABLE' -Message "$StateFile has the format '$($known.format)', not $Format" -Remedy (
'use the release of this script that has written it')
}
$read.found = $true
foreach ($part in @('former', 'applied')) {
foreach ($property in $known.$part.PSObject.Properties) { $read[$part][$property.Name] = $property.Value }
}
return $read
}
function Write-State([hashtable] $Known) {
$document = @{ format = $Format; former = $Known.former; applied = $Known.applied } | ConvertTo-Json -Depth 6
if (-not (Test-Path -LiteralPath $Folder)) { [void] (New-Item -Path $Folder -ItemType Directory) }
Invoke-Program -File icacls.exe -Arguments @($Folder, '/setowner', '*S-1-5-32-544', '/Q')
Invoke-Program -File icacls.exe -Arguments @(
$Folder, '/inheritance:r', '/grant:r', '*S-1-5-18:(OI)(CI)F', '/grant:r', '*S-1-5-32-544:(OI)(CI)F', '/Q')
$unfinished = "$StateFile.new"
$bytes = [System.Text.Encoding]::UTF8.GetBytes($document)
$stream = New-Object -TypeName System.IO.FileStream -ArgumentList @(
$unfinished, [System.IO.FileMode]::Create, [System.IO.FileAccess]::Write, [System.IO.FileShare]::None, 4096,
[System.IO.FileOptions]::WriteThrough)
try {
$stream.Write($bytes, 0, $bytes.Length)
$stream.Flush($true)
} finally {
$stream.Close()
}
Invoke-Program -File icacls.exe -Arguments @($unfinished, '/setowner', '*S-1-5-32-544', '/Q')
if (Test-Path -LiteralPath $StateFile) {
[System.IO.File]::Replace($unfinished, $StateFile, [NullString]::Value)
} else {
[System.IO.File]::Move($unfinished, $StateFile)
}
}
function Save-Former([hashtable] $Known, [string] $Part, $Value) {
if ($Known.former.ContainsKey($Part)) { return }
$Known.former[$Part] = $Value
Write-State -Known $Known
}
function Remove-State {
if (-not (Test-Path -LiteralPath $Folder)) { return }
foreach ($file in @("$StateFile.new", $RequestFile, $MadeFile, $StateFile)) {
if (Test-Path -LiteralPath $file) { Remove-Item -LiteralPath $file -Force }
}
if (@(Get-ChildItem -LiteralPath $Folder -Force).Count -eq 0) { Remove-Item -LiteralPath $Folder -Force }
}
function Invoke-Program([string] $File, [string[]] $Arguments) {
$said = & $File $Arguments | Out-String
if ($LASTEXITCODE -ne 0) {
Stop-Prep -Code 'COMMAND_FAILED' -Message "$File ended with $LASTEXITCODE`: $($said.Trim())" -Remedy (
'do what it says, then run again')
}
}
function Get-ServiceFact {
$service = Get-CimInstance -ClassName Win32_Service -Filter "Name='WinRM'"
return @{ start_mode = $service.StartMode; running = ($service.State -eq 'Running') }
}
function Get-Sha256([byte[]] $Bytes) {
$digest = [System.Security.Cryptography.SHA256]::Create().ComputeHash($Bytes)
return [BitConverter]::ToString($digest).Replace('-', '').ToLowerInvariant()
}
function Get-OwnCertificate {
return @(Get-ChildItem -LiteralPath Cert:\LocalMachine\My |
Where-Object -FilterScript { $_.FriendlyName -like "$CertificateName *" })
}
function Get-StoredCertificate([string] $Thumbprint) {
return Get-ChildItem -LiteralPath Cert:\LocalMachine\My |
Where-Object -FilterScript { $_.Thumbprint -eq $Thumbprint -and $_.HasPrivateKey } | Select-Object -First 1
}
function Get-ListenerFact {
$all = @(Get-WSManInstance -ResourceURI winrm/config/Listener -Enumerate |
Where-Object -FilterScript { $_.Transport -eq 'HTTPS' })
if ($all.Count -eq 0) { return $null }
$one = @(@($all | Where-Object -FilterScript { $_.Address -eq '*' }) + $all)[0]
return @{
address = [string] $one.Address; port = [int] $one.Port; hostname = [string] $one.Hostname
enabled = ([string] $one.Enabled -eq 'true')
thumbprint = ([string] $one.CertificateThumbprint).Replace(' ', '').ToUpperInvariant()
}
}
function Get-TokenFact {
return (Get-ItemProperty -LiteralPath $TokenKey -ErrorAction SilentlyContinue).LocalAccountTokenFilterPolicy
}
function Get-FirewallFact([int] $Port) {
if ((Get-Service -Name MpsSvc -ErrorAction SilentlyContinue).Status -ne 'Running') {
Add-Warning -Text 'the Windows firewall does not run: no rule is made, and nothing limits who connects'
return $null
}
$rules = @()
foreach ($rule in (New-Object -ComObject HNetCfg.FwPolicy2).Rules) {
if ($rule.Name -eq $RuleName) {
$rules += @{
Description = $rule.Description; Grouping = $rule.Grouping
ApplicationName = $rule.ApplicationName; serviceName = $rule.serviceName
Protocol = $rule.Protocol; LocalPorts = $rule.LocalPorts; RemotePorts = $rule.RemotePorts
LocalAddresses = $rule.LocalAddresses; RemoteAddresses = $rule.RemoteAddresses
Direction = $rule.Direction; Action = $rule.Action; Enabled = $rule.Enabled; Profiles = $rule.Profiles
InterfaceTypes = $rule.InterfaceTypes; EdgeTraversal = $rule.EdgeTraversal
}
} elseif ($rule.Enabled -and $rule.Direction -eq 1 -and $rule.Action -eq 1 -and $rule.Protocol -eq 6 -and
([string] $rule.LocalPorts).Split(',') -contains [string] $Port) {
Add-Warning -Text "the firewall rule '$($rule.Name)' opens port $Port, too, to $($rule.RemoteAddresses)"
}
}
return , $rules
}
function Get-Fact {
$fact = @{ service = Get-ServiceFact; listener = $null; basic = $null; token = Get-TokenFact; firewall = $null }
$port = 5986
if ($fact.service.running) {
$fact.listener = Get-ListenerFact
$auth = Get-WSManInstance -ResourceURI winrm/config/Service/Auth
$fact.basic = ([string] $auth.Basic -eq 'true')
if ([string] $auth.Negotiate -ne 'true') {
Add-Warning -Text 'WinRM does not take NTLM here (Auth\Negotiate is false)'
}
if ([string] (Get-WSManInstance -ResourceURI winrm/config/Service).AllowUnencrypted -eq 'true') {
Add-Warning -Text 'WinRM takes unencrypted messages over HTTP (AllowUnencrypted is true); none is needed'
}
if ($null -ne $fact.listener) { $port = $fact.listener.port }
} elseif ($Check) {
Add-Warning -Text 'WinRM does not run: how it is set up can be seen only once it does'
}
$fact.port = $port
$fact.firewall = Get-FirewallFact -Port $port
return $fact
}
function New-Step([string] $Step, $From, $To, [string] $Reason) {
return @{ step = $Step; from = $From; to = $To; reason = $Reason }
}
function Get-CertificateProblem($Listener, $Certificate, [string] $FriendlyName, [datetime] $Now) {
if ($null -eq $Listener) { return 'there is no HTTPS listener' }
if ($null -eq $Certificate) { return 'its certificate is not in the store, or has no key' }
if ($Certificate.NotAfter -le $Now) { return 'its certificate has expired' }
if ($Certificate.FriendlyName -notlike "$CertificateName *") {
if ($Certificate.NotAfter -le $Now.AddDays($RenewDays)) {
$end = $Certificate.NotAfter.ToString('yyyy-MM-dd')
Add-Warning -Text "the listener's certificate ends $end; it is not of this script"
}
return ''
}
if ($Certificate.NotAfter -le $Now.AddDays($RenewDays)) {
return "its certificate has fewer than $RenewDays days left"
}
if ($Certificate.FriendlyName -ne $FriendlyName) { return 'its certificate has other names' }
return ''
}
function Get-ListenerStep($Fact, $Certificate, [string] $FriendlyName, [datetime] $Now) {
$listener = $Fact.listener
$unused = { $_.Thumbprint -ne $listener.thumbprint }
$problem = Get-CertificateProblem $listener $Certificate $FriendlyName $Now
if ($problem -ne '') {
$from = $null
if ($null -ne $Fact.listener) { $from = $Fact.listener.thumbprint }
$ready = Get-OwnCertificate | Where-Object -FilterScript {
$_.FriendlyName -eq $FriendlyName -and $_.HasPrivateKey -and $_.NotAfter -gt $Now.AddDays($RenewDays)
} | Select-Object -First 1
if ($null -eq $ready) { New-Step -Step 'certificate' -From $null -To $FriendlyName -Reason $problem }
$works = $null -ne $Certificate -and $Certificate.NotAfter -gt $Now -and $Fact.listener.enabled
$name = 'listener'
if ($PinFirst -and $works) { $name = 'pending' }
New-Step -Step $name -From $from -To $FriendlyName -Reason $problem
} elseif (-not $Fact.listener.enabled) {
New-Step -Step 'listener' -From 'disabled' -To 'enabled' -Reason 'the HTTPS listener is disabled'
} elseif (@(Get-OwnCertificate | Where-Object -FilterScript $unused).Count -gt 0) {
New-Step -Step 'leftover' -From $null -To $null -Reason 'certificates of earlier runs are not in use'
}
}
function Test-Rule($Fact, [hashtable] $Known) {
if ($Fact.firewall.Count -ne 1) { return $false }
$rule = $Fact.firewall[0]
return $rule.Enabled -and $rule.Direction -eq 1 -and $rule.Action -eq 1 -and $rule.Protocol -eq 6 -and
$rule.LocalPorts -eq [string] $Fact.port -and $Known.applied.addresses -eq ($AllowedAddresses -join ',') -and
$Known.applied.read_back -eq $rule.RemoteAddresses
}
function Get-Plan($Fact, $Certificate, [string] $FriendlyName, [hashtable] $Known, [datetime] $Now) {
Get-ListenerStep -Fact $Fact -Certificate $Certificate -FriendlyName $FriendlyName -Now $Now
$basicWas = $Known.former['basic']
if ($Basic -and -not $Fact.basic) {
New-Step -Step 'basic' -From $false -To $true -Reason 'Basic is asked for'
} elseif (-not $Basic -and $Fact.basic -and $Known.former.ContainsKey('basic') -and -not $basicWas) {
New-Step -Step 'basic' -From $true -To $false -Reason 'Basic is no longer asked for'
} elseif (-not $Basic -and $Fact.basic) {
Add-Warning -Text 'WinRM takes Basic here; nothing of this script needs that'
}
if ($LocalAccountTokenFilterPolicy -and $Fact.token -ne 1) {
New-Step -Step 'token' -From $Fact.token -To 1 -Reason 'it is asked for'
} elseif (-not $LocalAccountTokenFilterPolicy -and $Known.former.ContainsKey('token') -and
$Fact.token -ne $Known.former['token']) {
New-Step -Step 'token' -From $Fact.token -To $Known.former['token'] -Reason 'it is no longer asked for'
}
if ($null -ne $Fact.firewall -and -not (Test-Rule -Fact $Fact -Known $Known)) {
$from = @($Fact.firewall | ForEach-Object -Process { $_.RemoteAddresses }) -join ' and '
$reason = "the rule '$RuleName' is missing or differs"
New-Step -Step 'firewall' -From $from -To ($AllowedAddresses -join ',') -Reason $reason
}
}
function Start-WinRM([hashtable] $Known, $Fact) {
Save-Former -Known $Known -Part 'service' -Value $Fact.service
if ($Fact.service.start_mode -ne 'Auto') { Set-Service -Name WinRM -StartupType Automatic }
Start-Service -Name WinRM
}
function New-OwnCertificate([hashtable] $Known, [string[]] $For, [string] $FriendlyName) {
Save-Former -Known $Known -Part 'certificate' -Value $null
$alternatives = foreach ($name in $For) {
if (Test-Ip -Text $name) { "_continue_ = `"ipaddress=$name&`"" } else { "_continue_ = `"dns=$name&`"" }
}
$made = (Get-Date).ToUniversalTime().ToString('yyyyMMddHHmmss')
$lines = @(
'[Version]', 'Signature = "$Windows NT$"', '[NewRequest]',
"Subject = `"CN=$env:COMPUTERNAME,OU=$CertificateName $made`"",
"FriendlyName = `"$FriendlyName`"", 'RequestType = Cert', 'MachineKeySet = TRUE', 'Exportable = FALSE',
'KeyLength = 2048', 'KeySpec = 1', 'KeyUsage = 0xA0', 'HashAlgorithm = SHA256', 'SMIME = FALSE',
'ProviderName = "Microsoft RSA SChannel Cryptographic Provider"', 'ProviderType = 12',
'SecurityDescriptor = "D:PAI(A;;0xd01f01ff;;;SY)(A;;0xd01f01ff;;;BA)(A;;0x80120089;;;NS)"',
'ValidityPeriod = Days', "ValidityPeriodUnits = $ValidityDays",
'[EnhancedKeyUsageExtension]', 'OID = 1.3.6.1.5.5.7.3.1', '[Extensions]', '2.5.29.17 = "{text}"'
) + @($alternatives)
try {
Set-Content -LiteralPath $RequestFile -Value $lines -Encoding Unicode
if (Test-Path -LiteralPath $MadeFile) { Remove-Item -LiteralPath $MadeFile -Force }
Invoke-Program -File certreq.exe -Arguments @('-new', '-q', $RequestFile, $MadeFile)
} finally {
foreach ($file in @($RequestFile, $MadeFile)) {
if (Test-Path -LiteralPath $file) { Remove-Item -LiteralPath $file -Force }
}
}
}
function Remove-OwnCertificate([string] $Except) {
$type = 'System.Security.Cryptography.X509Certificates.X509Store'
$store = New-Object -TypeName $type -ArgumentList @('My', 'LocalMachine')
$store.Open('ReadWrite')
try {
foreach ($certificate in (Get-OwnCertificate | Where-Object -FilterScript { $_.Thumbprint -ne $Except })) {
$key = $certificate.PrivateKey
$store.Remove($certificate)
if ($key -is [System.Security.Cryptography.RSACryptoServiceProvider]) {
$key.PersistKeyInCsp = $false
$key.Clear()
}
}
} finally {
$store.Close()
}
}
function Get-Selector($Listener) {
if ($null -eq $Listener) { return @{ Address = '*'; Transport = 'HTTPS' } }
return @{ Address = $Listener.address; Transport = 'HTTPS' }
}
function Set-Listener([hashtable] $Known, $Fact, [string] $FriendlyName) {
Save-Former -Known $Known -Part 'listener' -Value $Fact.listener
$values = @{ Enabled = 'true' }
if ($FriendlyName -ne '') {
$values.Hostname = $env:COMPUTERNAME
$newest = Get-OwnCertificate | Where-Object -FilterScript { $_.FriendlyName -eq $FriendlyName } |
Sort-Object -Property NotAfter -Descending | Select-Object -First 1
$values.CertificateThumbprint = $newest.Thumbprint
}
$selector = Get-Selector -Listener $Fact.listener
if ($null -eq $Fact.listener) {
[void] (New-WSManInstance -ResourceURI winrm/config/Listener -SelectorSet $selector -ValueSet $values)
} else {
[void] (Set-WSManInstance -ResourceURI winrm/config/Listener -SelectorSet $selector -ValueSet $values)
}
if ($FriendlyName -ne '') { Remove-OwnCertificate -Except $values.CertificateThumbprint }
}
function Set-BasicAuth([hashtable] $Known, $Fact, [bool] $Allowed) {
Save-Former -Known $Known -Part 'basic' -Value $Fact.basic
$policy = (Get-ItemProperty -LiteralPath $PolicyKey -ErrorAction SilentlyContinue).AllowBasic
if ($null -ne $policy -and [bool] $policy -ne $Allowed) {
Stop-Prep -Code 'CONFIG_INVALID' -Message "a group policy sets Basic to $([bool] $policy)" -Remedy (
'do without Basic (NTLM is better), or have the policy changed')
}
$text = $Allowed.ToString().ToLowerInvariant()
[void] (Set-WSManInstance -ResourceURI winrm/config/Service/Auth -ValueSet @{ Basic = $text })
}
function Set-Token([hashtable] $Known, $Fact, $Value) {
Save-Former -Known $Known -Part 'token' -Value $Fact.token
if ($null -eq $Value) {
Remove-ItemProperty -LiteralPath $TokenKey -Name LocalAccountTokenFilterPolicy
} else {
Set-ItemProperty -LiteralPath $TokenKey -Name LocalAccountTokenFilterPolicy -Value ([int] $Value) -Type DWord
}
}
function Add-Rule($Policy, $Fields) {
$rule = New-Object -ComObject HNetCfg.FWRule
$rule.Name = $RuleName
foreach ($field in @('Protocol', 'LocalPorts', 'RemotePorts', 'LocalAddresses', 'RemoteAddresses', 'Description',
'ApplicationName', 'serviceName', 'Direction', 'Action', 'Profiles', 'Grouping', 'InterfaceTypes',
'EdgeTraversal', 'Enabled')) {
if ($null -ne $Fields.$field -and [string] $Fields.$field -ne '') { $rule.$field = $Fields.$field }
}
$Policy.Rules.Add($rule)
}
function Set-Firewall([hashtable] $Known, $Fact) {
Save-Former -Known $Known -Part 'firewall' -Value @($Fact.firewall)
$addresses = ($AllowedAddresses | ForEach-Object -Process { if ($_ -eq 'any') { '*' } else { $_ } }) -join ','
$policy = New-Object -ComObject HNetCfg.FwPolicy2
for ($rule = 0; $rule -lt $Fact.firewall.Count; $rule++) { $policy.Rules.Remove($RuleName) }
Add-Rule -Policy $policy -Fields @{
Protocol = 6; LocalPorts = [string] $Fact.port; RemoteAddresses = $addresses
Direction = 1; Action = 1; Enabled = $true
Profiles = 0x7fffffff; Description = 'WinRM over HTTPS, for the controllers named by openngt winrm_prep'
}
$after = Get-FirewallFact -Port $Fact.port
$Known.applied = @{ addresses = ($AllowedAddresses -join ','); read_back = $after[0].RemoteAddresses }
Write-State -Known $Known
}
function Invoke-Step($Step, [hashtable] $Known, $Fact, [string[]] $For, [string] $FriendlyName) {
switch ($Step.step) {
'certificate' { New-OwnCertificate -Known $Known -For $For -FriendlyName $FriendlyName }
'listener' {
$with = $FriendlyName
if ($Step.to -eq 'enabled') { $with = '' }
Set-Listener -Known $Known -Fact $Fact -FriendlyName $with
}
'leftover' { Remove-OwnCertificate -Except $Fact.listener.thumbprint }
'basic' { Set-BasicAuth -Known $Known -Fact $Fact -Allowed $Step.to }
'token' { Set-Token -Known $Known -Fact $Fact -Value $Step.to }
'firewall' { Set-Firewall -Known $Known -Fact $Fact }
}
}
function Get-RestorePlan([hashtable] $Known) {
foreach ($part in @('firewall', 'token', 'basic', 'listener', 'certificate', 'service')) {
if ($Known.former.ContainsKey($part)) {
New-Step -Step $part -From $null -To $Known.former[$part] -Reason 'it is put back'
}
}
}
function Restore-Listener($Was, $Fact) {
$ours = @(Get-OwnCertificate | ForEach-Object -Process { $_.Thumbprint })
if ($null -eq $Fact.listener) { return }
$shown = $Fact.listener.thumbprint
if ($ours -notcontains $shown -and ($null -eq $Was -or $Was.thumbprint -ne $shown)) {
Add-Warning -Text 'somebody has given the HTTPS listener another certificate meanwhile: it is left as it is'
return
}
$selector = Get-Selector -Listener $Fact.listener
$certificate = $null
if ($null -ne $Was) { $certificate = Get-StoredCertificate -Thumbprint $Was.thumbprint }
if ($null -ne $certificate -and $certificate.NotAfter -gt (Get-Date)) {
$enabled = ([bool] $Was.enabled).ToString().ToLowerInvariant()
[void] (Set-WSManInstance -ResourceURI winrm/config/Listener -SelectorSet $selector -ValueSet @{
Hostname = $Was.hostname; CertificateThumbprint = $Was.thumbprint; Enabled = $enabled })
return
}
if ($null -ne $Was) {
$gone = $Was.thumbprint
Add-Warning -Text "the listener's former certificate $gone is gone or has expired: the listener goes, too"
}
Remove-WSManInstance -ResourceURI winrm/config/Listener -SelectorSet $selector
}
function Restore-Firewall($Was, $Fact) {
if ($null -eq $Fact.firewall) { return }
$policy = New-Object -ComObject HNetCfg.FwPolicy2
for ($rule = 0; $rule -lt $Fact.firewall.Count; $rule++) { $policy.Rules.Remove($RuleName) }
foreach ($rule in @($Was | Where-Object -FilterScript { $null -ne $_ })) { Add-Rule -Policy $policy -Fields $rule }
}
function Restore-Service($Was) {
if (-not $Was.running) { Stop-Service -Name WinRM -Force }
$type = @{ Auto = 'Automatic'; Manual = 'Manual'; Disabled = 'Disabled' }[[string] $Was.start_mode]
if ((Get-ServiceFact).start_mode -ne $Was.start_mode) { Set-Service -Name WinRM -StartupType $type }
}
function Restore-Former([hashtable] $Known) {
if (-not (Get-ServiceFact).running) { Start-WinRM -Known $Known -Fact @{ service = Get-ServiceFact } }
$fact = Get-Fact
foreach ($step in @(Get-RestorePlan -Known $Known)) {
switch ($step.step) {
'firewall' { Restore-Firewall -Was $step.to -Fact $fact }
'token' { if ($fact.token -ne $step.to) { Set-Token -Known $Known -Fact $fact -Value $step.to } }
'basic' { if ($fact.basic -ne $step.to) { Set-BasicAuth -Known $Known -Fact $fact -Allowed $step.to } }
'listener' { Restore-Listener -Was $step.to -Fact $fact }
'certificate' { Remove-OwnCertificate -Except '' }
'service' { Restore-Service -Was $step.to }
}
}
Remove-State
}
function Get-Summary($Fact) {
$rules = @()
if ($null -ne $Fact.firewall) {
$rules = @($Fact.firewall | ForEach-Object -Process { [string] $_.RemoteAddresses })
}
return @{
service = $Fact.service; listener = $Fact.listener; basic = $Fact.basic; token = $Fact.token; firewall = $rules
}
}
function Get-Shown($Certificate) {
if ($null -eq $Certificate) { return $null }
$text = [Convert]::ToBase64String($Certificate.RawData, [Base64FormattingOptions]::InsertLineBreaks)
$text = $text.Replace("`r", '')
return @{
thumbprint_sha256 = Get-Sha256 -Bytes $Certificate.RawData
thumbprint_sha1 = $Certificate.Thumbprint.ToLowerInvariant()
not_after = $Certificate.NotAfter.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ')
certificate_pem = "-----BEGIN CERTIFICATE-----`n$text`n-----END CERTIFICATE-----`n"
}
}
function Add-Listened([hashtable] $Result, $Fact, [string] $FriendlyName) {
$Result.after = Get-Summary -Fact $Fact
$Result.port = $Fact.port
$used = ''
if ($null -ne $Fact.listener) { $used = $Fact.listener.thumbprint }
$shown = Get-Shown -Certificate (Get-StoredCertificate -Thumbprint $used)
if ($null -ne $shown) { foreach ($key in $shown.Keys) { $Result[$key] = $shown[$key] } }
if ($Result.pending.Count -gt 0) {
$next = Get-OwnCertificate |
Where-Object -FilterScript { $_.FriendlyName -eq $FriendlyName -and $_.Thumbprint -ne $used } |
Sort-Object -Property NotAfter -Descending | Select-Object -First 1
$Result.next = Get-Shown -Certificate $next
}
}
function Invoke-Present([hashtable] $Result, [hashtable] $Known) {
$fact = Get-Fact
$Result.before = Get-Summary -Fact $fact
$for = @(Get-WantedName)
$friendlyName = Get-FriendlyName -For $for
$steps = @()
if (-not $fact.service.running -or $fact.service.start_mode -ne 'Auto') {
$reason = 'WinRM does not run, or not after a restart'
$steps += New-Step -Step 'service' -From $fact.service -To 'running, Auto' -Reason $reason
if (-not $Check) {
Start-WinRM -Known $Known -Fact $fact
$fact = Get-Fact
}
}
$used = $null
if ($null -ne $fact.listener) { $used = Get-StoredCertificate -Thumbprint $fact.listener.thumbprint }
$planned = @(Get-Plan -Fact $fact -Certificate $used -FriendlyName $friendlyName -Known $Known -Now (Get-Date))
$Result.pending = @($planned | Where-Object -FilterScript { $_.step -eq 'pending' })
$steps += @($planned | Where-Object -FilterScript { $_.step -ne 'pending' })
$Result.steps = @($steps)
$Result.changed = ($steps.Count -gt 0)
if (-not $Check) {
foreach ($step in @($planned)) {
Invoke-Step -Step $step -Known $Known -Fact $fact -For $for -FriendlyName $friendlyName
}
$fact = Get-Fact
}
Add-Listened -Result $Result -Fact $fact -FriendlyName $friendlyName
}
function Invoke-Absent([hashtable] $Result, [hashtable] $Known) {
$fact = Get-Fact
$Result.before = Get-Summary -Fact $fact
$Result.steps = @(Get-RestorePlan -Known $Known)
$Result.changed = ($Result.steps.Count -gt 0)
if ($Result.changed -and -not $Check) {
Restore-Former -Known $Known
$fact = Get-Fact
} elseif (-not $Check) {
Remove-State
}
Add-Listened -Result $Result -Fact $fact -FriendlyName ''
}
$result = @{
changed = $false; check = [bool] $Check; state = $State; steps = @(); pending = @()
before = $null; after = $null; port = $null
thumbprint_sha256 = $null; thumbprint_sha1 = $null; not_after = $null; certificate_pem = $null; next = $null
warnings = @(); failed = $false
}
$known = $null
try {
Assert-Input
$known = Read-State
if ($State -eq 'present') {
Invoke-Present -Result $result -Known $known
} else {
Invoke-Absent -Result $result -Known $known
}
} catch {
$failure = $_.Exception
$result.failed = $true
$result.code = [string] $failure.Data['code']
$result.remedy = [string] $failure.Data['remedy']
$result.message = $failure.Message
if ($result.code -eq '') {
$result.code = 'INTERNAL'
$result.remedy = 'report it with this message'
$result.message = "$($failure.Message) (line $($_.InvocationInfo.ScriptLineNumber))"
}
if ($State -eq 'present' -and $null -ne $known -and -not $known.found -and $known.former.Count -gt 0) {
try {
Restore-Former -Known $known
$result.message += '; what was here before is back'
} catch {
$why = $_.Exception.Message
$result.message += "; putting back failed, too, and $StateFile has what was here before: $why"
}
}
}
$result.warnings = @($Warnings)
ConvertTo-Json -InputObject $result -Depth 6 -Compress
if (Test-Path -LiteralPath Variable:\Ansible) {
$from = @($result.steps | ForEach-Object -Process { @{ $_.step = $_.from } })
$to = @($result.steps | ForEach-Object -Process { @{ $_.step = $_.to } })
$Ansible.Changed = $result.changed
$Ansible.Diff = @{
before = (ConvertTo-Json -InputObject $from -Depth 6)
after = (ConvertTo-Json -InputObject $to -Depth 6)
}
}
if ($result.failed -and -not (Test-Path -LiteralPath Variable:\Ansible)) { exit 1 }
""".lstrip("\n")
