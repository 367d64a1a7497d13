# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows Setup and Sysprep have logged about an answer file: where the logs are, and what they come to.

Sources: "Windows Setup Log Files and Event Logs" and "Deployment Troubleshooting and Log Files" on Microsoft Learn. The
wording inside the logs is documented nowhere; what is looked for here stands in logs that people have published.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

__all__ = ["LOGS", "PASSES", "Log", "Outcome", "outcome", "read_log"]


class Log(NamedTuple):
    path: str
    """In the guest; Windows is on C: there."""
    phase: str


LOGS = (
    Log(r"C:\$WINDOWS.~BT\Sources\Panther\setuperr.log", "setup"),
    Log(r"C:\$WINDOWS.~BT\Sources\Panther\setupact.log", "setup"),
    Log(r"C:\Windows\System32\Sysprep\Panther\setuperr.log", "sysprep"),
    Log(r"C:\Windows\System32\Sysprep\Panther\setupact.log", "sysprep"),
    Log(r"C:\Windows\Panther\setuperr.log", "specialize"),
    Log(r"C:\Windows\Panther\setupact.log", "specialize"),
    Log(r"C:\Windows\Panther\UnattendGC\setuperr.log", "oobe"),
    Log(r"C:\Windows\Panther\UnattendGC\setupact.log", "oobe"),
)
"""In the order in which Windows writes them. `setuperr.log` has the errors alone, without their context."""

PASSES = {"setup": "windowsPE", "sysprep": "generalize", "specialize": "specialize", "oobe": "oobeSystem"}
"""Phase -> the pass of the answer file that is in force in it."""

ENTRY = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\s+(?P<level>[A-Za-z]+)\s+(?:\[0x[0-9A-Fa-f]+\]\s*)?(?P<text>.*)"
)
ERRORS = ("error", "fatal", "perf_error")
ENDINGS = (
    # What an entry says -> how it has ended.
    (re.compile(r"(?i)\[oobeldr\.exe\].{0,80}exiting with code \[?0x0\]"), "done"),
    (re.compile(r"(?i)\[(?:oobeldr|windeploy)\.exe\].{0,80}exiting with code \[?0x0*[1-9a-f]"), "failed"),
    (re.compile(r"(?i)could not (?:parse or process|complete the installation)"), "failed"),
    (re.compile(r"(?i)user input error was detected in unattend"), "failed"),
    (re.compile(r"(?i)unattend action failed"), "failed"),
    (re.compile(r"(?i)the provided unattend file is not valid"), "failed"),
    (re.compile(r"(?i)failed to decode password"), "failed"),
    (re.compile(r"(?i)pass has failed status"), "failed"),
    (re.compile(r"(?i)online installation cannot complete"), "failed"),
    (re.compile(r"(?i)found no unattend file"), "failed"),
)
SMI = re.compile(r"SMI data results dump: (?P<what>Source|Description) = (?P<value>.*)")
SETTING = re.compile(r"/settings/\S+")
COMPONENT = re.compile(r"\bName: (?P<name>[\w-]+),")
SECRETS = re.compile(
    r"(?i)(<(?P<tag>[\w:]*Password|Key|ProductKey|Value)\b[^>]*>).*?(</(?P=tag)>|$)"
    r"|\b(?:[A-Z0-9]{5}-){4}[A-Z0-9]{5}\b"
    # A value that Windows refuses is logged byte by byte.
    r"|(?<=\): )(?:[0-9a-f]{2}){4,}"
)
LAST = 20
LINE = 1000


class Outcome(NamedTuple):
    state: Literal["running", "done", "failed", "unknown"]
    """`unknown`: no log has an entry. `running`: none has said an end."""
    phase: str
    """`setup`, `sysprep`, `specialize`, `oobe`; empty without entries."""
    component: str | None
    """Whose setting Windows has refused, as `Microsoft-Windows-Shell-Setup`, where it says so."""
    message: str
    """What Windows has said about it: the setting that it refused, else the entry that tells, else the last one."""
    path: str
    """The log that holds the entry that tells."""
    lines: tuple[str, ...]
    """The last entries of its phase, at most 20."""


def read_log(content: bytes) -> list[str]:
    """The lines of a log, whatever code page it was written in. Passwords and product keys are taken out."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        text = content.decode("utf-8-sig", "replace")
    return [_hidden(line)[:LINE] for line in text.replace("\0", "").splitlines() if line.strip()]


def _hidden(line: str) -> str:
    return SECRETS.sub(lambda found: f"{found[1]}***{found[3]}" if found[1] else "***", line)


def outcome(logs: Sequence[tuple[Log, Sequence[str]]]) -> Outcome:
    """What the lines of the logs come to, in the order of LOGS.

    The last phase that has said anything decides: an error of an earlier one that Windows has gone on from is none. An
    error alone is no failure, as every good installation logs some; what ends it is in ENDINGS.
    """
    said = [list(_entries(log, lines)) for log, lines in logs]
    said = [entries for entries in said if entries]
    if not said:
        return Outcome("unknown", "", None, "no log of Windows Setup has an entry", "", ())
    last = max(said, key=lambda entries: entries[-1].time)[0].log.phase
    of_last = [entry for entries in said for entry in entries if entry.log.phase == last]
    of_last.sort(key=lambda entry: entry.time)
    lines = tuple(entry.line for entry in of_last[-LAST:])
    state, tells = _ending(of_last)
    refused = _refused(of_last) if state == "failed" else None
    if refused is None:
        return Outcome(state, last, None, tells.text, tells.log.path, lines)
    return Outcome(state, last, refused.component, refused.message, refused.log.path, lines)


class _Entry(NamedTuple):
    log: Log
    time: str
    level: str
    text: str
    line: str


class _Refused(NamedTuple):
    log: Log
    component: str | None
    message: str


def _entries(log: Log, lines: Sequence[str]) -> Iterator[_Entry]:
    for line in lines:
        found = ENTRY.match(line)
        if found:
            yield _Entry(log, found["time"], found["level"].lower(), found["text"].strip(), line)


def _ending(entries: Sequence[_Entry]) -> tuple[Literal["running", "done", "failed"], _Entry]:
    failures = [entry for entry in entries if _says(entry) == "failed"]
    if failures:
        return "failed", _first(failures)
    done = [entry for entry in entries if _says(entry) == "done"]
    return ("done", done[-1]) if done else ("running", entries[-1])


def _says(entry: _Entry) -> str | None:
    return next((state for pattern, state in ENDINGS if pattern.search(entry.text)), None)


def _first(failures: Sequence[_Entry]) -> _Entry:
    """A warning among them says what it was, as a password that could not be decoded; errors say that it was."""
    told = [entry for entry in failures if entry.level not in ERRORS]
    return (told or failures)[0]


def _refused(entries: Sequence[_Entry]) -> _Refused | None:
    """`/settings/FirstLogonCommands/…: Value is invalid.`, where Windows has named a setting."""
    found: dict[str, tuple[_Entry, str]] = {}
    for entry in entries:
        dumped = SMI.search(entry.text)
        if dumped:
            found.setdefault(dumped["what"], (entry, dumped["value"]))
    if len(found) < 2:
        return None
    entry, source = found["Source"]
    setting, component = SETTING.search(source), COMPONENT.search(source)
    message = f"{setting[0] if setting else source}: {found['Description'][1]}"
    return _Refused(entry.log, component["name"] if component else None, message)
