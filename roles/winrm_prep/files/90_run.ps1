# SPDX-License-Identifier: GPL-3.0-or-later
# The run.


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
    # A first run that fails leaves nothing open. A later one leaves what worked before it.
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
# Under Ansible the module ends the process; by hand and at first boot the exit status tells.
if ($result.failed -and -not (Test-Path -LiteralPath Variable:\Ansible)) { exit 1 }
