# SPDX-License-Identifier: GPL-3.0-or-later
# What is here.


# Its errors are on its standard output; redirecting the other one would end the script at the first line of it.
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

# Through the interface of Vista and later, as netsh prints in the language of this Windows.
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
    # Only the service itself can say how it is set up.
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
