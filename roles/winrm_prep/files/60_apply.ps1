# SPDX-License-Identifier: GPL-3.0-or-later
# Doing it: each part is written down before it is changed.


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
    # A name of its own: of two certificates with one name OpenSSL, and so a controller that trusts both, finds one.
    $made = (Get-Date).ToUniversalTime().ToString('yyyyMMddHHmmss')
    $lines = @(
        '[Version]', 'Signature = "$Windows NT$"', '[NewRequest]',
        "Subject = `"CN=$env:COMPUTERNAME,OU=$CertificateName $made`"",
        "FriendlyName = `"$FriendlyName`"", 'RequestType = Cert', 'MachineKeySet = TRUE', 'Exportable = FALSE',
        'KeyLength = 2048', 'KeySpec = 1', 'KeyUsage = 0xA0', 'HashAlgorithm = SHA256', 'SMIME = FALSE',
        'ProviderName = "Microsoft RSA SChannel Cryptographic Provider"', 'ProviderType = 12',
        # Besides SYSTEM and Administrators NETWORK SERVICE, as which WinRM runs, may read the key.
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

# The key goes as well: removing a certificate from the store leaves it on the disk.
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
        # WinRM wants the listener's name to be the certificate's.
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
    # The protocol comes first: ports are refused before it is known.
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
