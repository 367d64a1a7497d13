# SPDX-License-Identifier: GPL-3.0-or-later
# Putting it back, in the other order.


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
    # WinRM takes no certificate that has expired, and nobody could have connected by it.
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
    # Its settings can be put back only while it runs.
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
