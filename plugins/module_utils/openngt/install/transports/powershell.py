# SPDX-License-Identifier: GPL-3.0-or-later
"""How a PowerShell script of any length runs at the other end of a command line of 8191 characters, and what it says.

For Windows PowerShell 3.0 and later. A script says its lines with `[Console]::Out.WriteLine(...)`, which wraps none,
and reads its further input with `[Console]::In.ReadLine()`. Both are UTF-8. `$input` must not stand in the bootstrap:
where PowerShell finds that word in its command it reads standard input itself (ConsoleHost.cs, IsUsingDollarInput).
"""

from __future__ import annotations

import base64
import html
import re
import uuid

__all__ = ["BOOTSTRAP", "READY", "as_input", "bootstrap_command", "encoded_command", "readable"]

MAX_COMMAND_CHARACTERS = 8191
"""What cmd.exe takes as a line (learn.microsoft.com, "Command prompt line string limitation")."""

READY = "openngt-powershell-ready"
"""The bootstrap's first line: PowerShell runs. Without it nothing did."""

BOOTSTRAP = f"""
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$utf8 = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
try {{ [Console]::OutputEncoding = $utf8 }} catch {{ }}
$out = New-Object -TypeName System.IO.StreamWriter -ArgumentList ([Console]::OpenStandardOutput()), $utf8
$out.AutoFlush = $true
[Console]::SetOut($out)
$in = New-Object -TypeName System.IO.StreamReader -ArgumentList ([Console]::OpenStandardInput()), $utf8
[Console]::SetIn($in)
[Console]::Out.WriteLine('{READY}')
$last = [Console]::In.ReadLine()
$text = New-Object -TypeName System.Text.StringBuilder
while ($true) {{
    $line = [Console]::In.ReadLine()
    if ($null -eq $line) {{
        [Console]::Error.WriteLine('the script did not arrive in one piece')
        exit 70
    }}
    if ($line -ceq $last) {{ break }}
    [void]$text.AppendLine($line)
}}
& ([ScriptBlock]::Create($text.ToString()))
"""
"""Reads a script from standard input, up to the line that the first line names, and runs it.

Both streams are UTF-8 without a byte order mark by a reader and a writer of its own. The console's encoding is for
other programs' output alone, and there need not be a console. `exit` in the script is the program's exit status; an
error that the script does not catch makes it 1 and stands on standard error.
"""


def encoded_command(script: str) -> str:
    """A command line for cmd.exe that runs a short script. No secret belongs in it: the process list shows it.

    ValueError when it does not fit in MAX_COMMAND_CHARACTERS.
    """
    encoded = base64.b64encode(script.encode("utf-16-le")).decode("ascii")
    options = "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass"
    command = f"powershell.exe {options} -EncodedCommand {encoded}"
    if len(command) > MAX_COMMAND_CHARACTERS:
        raise ValueError(f"a command line of {len(command)} characters; {MAX_COMMAND_CHARACTERS} are taken")
    return command


def bootstrap_command() -> str:
    """The command line that waits for a script on its standard input; see `as_input`."""
    return encoded_command("\n".join(line.strip() for line in BOOTSTRAP.strip().splitlines()))


def as_input(script: str) -> bytes:
    """The script as the bootstrap reads it. What is said after it is the script's own input."""
    last = f"openngt-end-{uuid.uuid4().hex}"  # by chance in no script
    # Not splitlines, which also ends a line where .NET does not, as at U+2028 in a text.
    lines = re.split("\r\n|\r|\n", script.removeprefix("\N{BYTE ORDER MARK}").rstrip("\r\n"))
    return "\n".join([last, *lines, last, ""]).encode()


CLIXML = "#< CLIXML"
_RECORD = re.compile(r'<S S="(\w+)">(.*?)</S>', re.DOTALL)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def readable(stderr: str) -> str:
    """Standard error for people: of PowerShell's CLIXML the texts of errors, warnings and the like, in their order.

    Progress records are left out. Text before the XML, which other programs wrote, stays. It may be cut off anywhere.
    """
    plain, marker, xml = stderr.partition(CLIXML)
    if not marker:
        if _RECORD.search(stderr) is None:
            return stderr.strip()
        plain, xml = "", stderr  # the beginning was cut off
    said = "".join(_unescaped(text) for _stream, text in _RECORD.findall(xml))
    return "\n".join(part for part in (plain.strip(), said.strip()) if part)


def _unescaped(text: str) -> str:
    """`_x000D__x000A_` is how CLIXML writes a line's end (MS-PSRP 2.2.5.3.2)."""
    text = html.unescape(text)
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\r\n", "\n")
