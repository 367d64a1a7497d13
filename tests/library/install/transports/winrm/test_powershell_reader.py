# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader that keeps syntax errors and newer PowerShell out of our scripts finds both, and lets good ones pass."""

import pytest
from tests.fakes.powershell import Call, foreign_to_powershell_3, parse

GOOD = r"""
param([string]$Name = 'x', [switch]$Quiet)
$ErrorActionPreference = 'Stop'
function Get-Thing([int]$a) { return $a + 1 }
Get-ChildItem -Path C:\ -Recurse | Where-Object { $_.Length -gt 3 } | ForEach-Object { & 'sc.exe' query x }
[Console]::Out.WriteLine("a $(Get-Item -LiteralPath 'x')")
try { icacls.exe $x /grant 'a:b' | Out-Null } catch { throw }
while ($null -ne ($line = [Console]::In.ReadLine())) { & $block -Made Up }
Set-Content @splat -Path:$x
Get-Thing -a 3
"""


def test_a_good_script_has_no_error_and_tells_what_it_calls() -> None:
    script = parse(GOOD)
    assert script.errors == []
    assert script.functions == {"get-thing"}
    assert Call(5, "Get-ChildItem", ("Path", "Recurse")) in script.calls
    assert {call.command for call in script.calls} >= {"sc.exe", "Get-Item", "icacls.exe", "Out-Null", "Set-Content"}
    assert Call(9, "Set-Content", ("Path",)) in script.calls
    assert foreign_to_powershell_3(GOOD) == []


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("$a = 1\nif ($a { 'b' }", 2),
        ("foreach ($i in 1) {\n  'x'\n", 2),
        ("'open", 1),
        ("$a ? 1 : 2", 1),
        ("$a ?? 3", 1),
    ],
)
def test_a_syntax_error_is_found_and_its_line_named(script: str, line: int) -> None:
    assert any(error.startswith(f"line {line}: ") for error in parse(script).errors), parse(script).errors


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("Get-FileHash -Path x", "Get-FileHash is no command"),
        ("if (1) { ls }", "ls is no command"),
        ("Get-ChildItem -Depth 2", "Get-ChildItem has no -Depth"),
        ("Get-ChildItem -ea Stop", "Get-ChildItem has no -ea"),
        ("New-NetFirewallRule -Name x", "New-NetFirewallRule is no command"),
        ("class Foo { [int]$x }", "classes"),
        ("enum A { B }", "enumerations"),
        ("using namespace System.Text", "using is no command"),
        ("$a = [Foo]::new(3)", "New-Object"),
        ("@(1, 2).Where({ $_ })", "Where-Object"),
        ("Get-Item -Path x && Get-Item -Path y", "PowerShell 7.0"),
        ("#Requires -RunAsAdministrator\n'x'", "PowerShell 4.0"),
    ],
)
def test_what_came_after_powershell_3_is_named(script: str, what: str) -> None:
    assert any(what in line and line.startswith("line 1: ") for line in foreign_to_powershell_3(script))


def test_commands_of_server_2012_are_allowed_when_asked_for() -> None:
    rule = "New-NetFirewallRule -Name x -Direction Inbound -LocalPort 5986 -Protocol TCP -Action Allow"
    assert foreign_to_powershell_3(rule, windows_2012=True) == []
    assert foreign_to_powershell_3("New-SelfSignedCertificate -KeyLength 2048", windows_2012=True) != []
