# SPDX-License-Identifier: GPL-3.0-or-later
# What is to be done: from facts alone.


function New-Step([string] $Step, $From, $To, [string] $Reason) {
    return @{ step = $Step; from = $From; to = $To; reason = $Reason }
}

# Why the listener needs another certificate; empty when it does not. Somebody else's is theirs to renew.
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
    # Windows writes addresses down in its own way, so what it makes of ours is compared with what it made of them.
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
    # Last: nobody is let in before the rest is as it should be.
    if ($null -ne $Fact.firewall -and -not (Test-Rule -Fact $Fact -Known $Known)) {
        $from = @($Fact.firewall | ForEach-Object -Process { $_.RemoteAddresses }) -join ' and '
        $reason = "the rule '$RuleName' is missing or differs"
        New-Step -Step 'firewall' -From $from -To ($AllowedAddresses -join ',') -Reason $reason
    }
}
