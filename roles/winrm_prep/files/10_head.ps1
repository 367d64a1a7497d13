# SPDX-License-Identifier: GPL-3.0-or-later
<#
.SYNOPSIS
Lets a controller reach this Windows by WinRM over HTTPS, and can put everything back.

.DESCRIPTION
A certificate of its own, an HTTPS listener, a firewall rule for the addresses given, Basic where it is asked for. What
it changes is written down first, in %ProgramData%\openngt\winrm_prep.json; `-State absent` puts that back. It can be
run again at any time, also after it was killed half-way. Needs PowerShell 3.0 or newer, and an administrator.

Prints one JSON object: changed, check, state, steps, before, after, pending, port, thumbprint_sha256, thumbprint_sha1,
not_after, certificate_pem, next, warnings, failed; after a failure also code, message, remedy.

What came with Windows 8 and Server 2012 is not used (New-SelfSignedCertificate, *-NetFirewallRule): Windows 7 and
Server 2008 R2 lack it, with PowerShell 3.0 too. certreq makes the same certificate on all of them. Nothing that a
program prints in the language of this Windows is read.

.PARAMETER State
present, or absent: put back what was here before.

.PARAMETER Check
Say what would be done, and do nothing.

.PARAMETER Names
Names and addresses by which controllers call this Windows, beside its own names.

.PARAMETER AllowedAddresses
Who may connect: addresses, networks (10.0.0.0/8), ranges (10.0.0.1-10.0.0.9), LocalSubnet, or any.

.PARAMETER Basic
Allow Basic. NTLM encrypts what it carries and needs none of this. Without it, a Basic that this script has allowed is
put back.

.PARAMETER LocalAccountTokenFilterPolicy
Let local administrators other than the built-in one be administrators over the network. Without it, as Basic.

.PARAMETER ValidityDays
Life of the certificate.

.PARAMETER RenewDays
The certificate is made again when it has fewer days left.

.PARAMETER PinFirst
A listener that works keeps its certificate when a new one is due: that one is made and shown (next), so that who is
connected can pin it, and the run after this one, without -PinFirst, changes over.
#>
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
# The name that the guide gives it, so that a rule made by the guide, open to everybody, is narrowed and not doubled.
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
