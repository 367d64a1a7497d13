# SPDX-License-Identifier: GPL-3.0-or-later
# What was here before.


function Read-State {
    $read = @{ former = @{}; applied = @{}; found = $false }
    if (-not (Test-Path -LiteralPath $StateFile)) { return $read }
    # Any user may make folders in %ProgramData%: what such a file says must not be put in place by an administrator.
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
    # SYSTEM and Administrators, by their numbers: their names differ from language to language.
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

# Before a part is changed for the first time. A run that follows one that was killed keeps what that one has written.
function Save-Former([hashtable] $Known, [string] $Part, $Value) {
    if ($Known.former.ContainsKey($Part)) { return }
    $Known.former[$Part] = $Value
    Write-State -Known $Known
}

function Remove-State {
    if (-not (Test-Path -LiteralPath $Folder)) { return }
    # What a run has left unfinished that was killed; the record itself goes last.
    foreach ($file in @("$StateFile.new", $RequestFile, $MadeFile, $StateFile)) {
        if (Test-Path -LiteralPath $file) { Remove-Item -LiteralPath $file -Force }
    }
    if (@(Get-ChildItem -LiteralPath $Folder -Force).Count -eq 0) { Remove-Item -LiteralPath $Folder -Force }
}
