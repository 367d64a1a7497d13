# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of Windows Setup, fetched from a guest: the script that reads them there, and what its answer comes to."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import OpenNGTError
from ..install.windows.play import answer_of
from .panther import LOGS, PASSES, Log, outcome, read_log

__all__ = ["SCRIPT", "judged", "parameters"]

Json = dict[str, Any]

MOST_BYTES = 256 * 1024
"""Of the end of each log; setupact.log may have many megabytes."""
GZIP = 31
"""As zlib's `wbits`."""

SCRIPT = r"""param([string] $Logs, [int] $Most)
$ErrorActionPreference = 'Stop'

function Get-Place([string] $Path) {
    if ($Path.StartsWith('C:\Windows\')) { return $env:SystemRoot + $Path.Substring(10) }
    return $env:SystemDrive + $Path.Substring(2)
}

function Read-End([string] $Path) {
    # Windows may still be writing it.
    $file = [IO.File]::Open($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::ReadWrite)
    try {
        $count = [int] [Math]::Min($file.Length, $Most)
        [void] $file.Seek($file.Length - $count, [IO.SeekOrigin]::Begin)
        $bytes = New-Object byte[] $count
        $read = $file.Read($bytes, 0, $count)
        $size = $file.Length
    } finally {
        $file.Close()
    }
    $packed = New-Object IO.MemoryStream
    $stream = New-Object IO.Compression.GZipStream($packed, [IO.Compression.CompressionMode]::Compress)
    $stream.Write($bytes, 0, $read)
    $stream.Close()
    return @{ path = $Path; size = $size; content = [Convert]::ToBase64String($packed.ToArray()) }
}

function Test-Elevated {
    $me = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
    return $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
}

$found = @{}
$failed = @{}
foreach ($log in ($Logs | ConvertFrom-Json)) {
    $path = Get-Place $log
    if ([IO.File]::Exists($path)) {
        try { $found[$log] = Read-End $path } catch { $failed[$path] = $_.Exception.Message }
    }
}
@{ logs = $found; failed = $failed; elevated = (Test-Elevated) } | ConvertTo-Json -Depth 4 -Compress
"""


def parameters() -> Json:
    """What SCRIPT takes."""
    return {"Logs": json.dumps([log.path for log in LOGS]), "Most": MOST_BYTES}


def judged(output: Sequence[Any]) -> Json:
    """What SCRIPT has put out -> what became of the answer file.

    `state` (`running`, `done`, `failed`, `unknown`), `phase`, `pass`, `component`, `message`, `log` (where the message
    stands), `last_lines`, `logs` (`path`, `phase`, `size` of each that is there). Passwords are taken out.
    PERMISSION_DENIED, PROTOCOL_ERROR.
    """
    answer = answer_of(output)
    fetched = _mapping(answer.get("logs"))
    there = [(log, one) for log in LOGS if isinstance(one := fetched.get(log.path), Mapping)]
    failed = _mapping(answer.get("failed"))
    if not there and (failed or not answer.get("elevated")):
        why = "; ".join(f"{path}: {said}" for path, said in list(failed.items())[:1])
        message = "none of the logs of Windows Setup could be read" + (f": {why}" if why else "")
        raise OpenNGTError("PERMISSION_DENIED", message, remedy="log in as a local administrator")
    logs = [(Log(str(one.get("path")), log.phase), read_log(_content(one))) for log, one in there]
    told = outcome(logs)
    return {
        "state": told.state,
        "phase": told.phase or None,
        "pass": PASSES.get(told.phase),
        "component": told.component,
        "message": told.message,
        "log": told.path or None,
        "last_lines": list(told.lines),
        "logs": [{"path": str(one.get("path")), "phase": log.phase, "size": one.get("size")} for log, one in there],
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _content(log: Mapping[str, Any]) -> bytes:
    """Of a guest that may say anything: it unpacks to no more than was asked for."""
    try:
        packed = base64.b64decode(str(log.get("content")), validate=True)
        return zlib.decompressobj(GZIP).decompress(packed, MOST_BYTES)
    except (ValueError, zlib.error) as exc:
        raise OpenNGTError("PROTOCOL_ERROR", "the script in the guest sent a log that cannot be unpacked") from exc
