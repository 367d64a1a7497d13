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

__all__ = ["LOGS", "Log", "Outcome", "outcome", "read_log"]


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
    message: str
    """What Windows has said about it: the setting that it refused, else the entry that tells, else the last one."""
    lines: tuple[str, ...]
    """The last entries of the log that decided, at most 20."""


def read_log(content: bytes) -> list[str]:
    """The lines of a log, whatever code page it was written in. Passwords and product keys are taken out."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        text = content.decode("utf-8-sig", "replace")
    return [_hidden(line)[:LINE] for line in text.replace("\0", "").splitlines() if line.strip()]


def _hidden(line: str) -> str:
    return SECRETS.sub(lambda found: f"{found[1]}***{found[3]}" if found[1] else "***", line)


def outcome(logs: Sequence[tuple[str, Sequence[str]]]) -> Outcome:
    """What (phase, lines) of the logs come to, in the order of LOGS.

    The last phase that has said anything decides: an error of an earlier one that Windows has gone on from is none. An
    error alone is no failure, as every good installation logs some; what ends it is in ENDINGS.
    """
    said = [(phase, list(_entries(lines)), lines) for phase, lines in logs]
    said = [one for one in said if one[1]]
    if not said:
        return Outcome("unknown", "", "no log of Windows Setup has an entry", ())
    last = max(said, key=lambda one: one[1][-1].time)[0]
    of_last = [entry for phase, entries, _name in said if phase == last for entry in entries]
    of_last.sort(key=lambda entry: entry.time)
    lines = tuple(entry.line for entry in of_last[-LAST:])
    state, message = _ending(of_last)
    return Outcome(state, last, message, lines)


class _Entry(NamedTuple):
    time: str
    level: str
    text: str
    line: str


def _entries(lines: Sequence[str]) -> Iterator[_Entry]:
    for line in lines:
        found = ENTRY.match(line)
        if found:
            yield _Entry(found["time"], found["level"].lower(), found["text"].strip(), line)


def _ending(entries: Sequence[_Entry]) -> tuple[Literal["running", "done", "failed"], str]:
    failures = [entry for entry in entries if _says(entry) == "failed"]
    if failures:
        return "failed", _refused_setting(entries) or _first(failures).text
    done = [entry for entry in entries if _says(entry) == "done"]
    return ("done", done[-1].text) if done else ("running", entries[-1].text)


def _says(entry: _Entry) -> str | None:
    return next((state for pattern, state in ENDINGS if pattern.search(entry.text)), None)


def _first(failures: Sequence[_Entry]) -> _Entry:
    """A warning among them says what it was, as a password that could not be decoded; errors say that it was."""
    told = [entry for entry in failures if entry.level not in ERRORS]
    return (told or failures)[0]


def _refused_setting(entries: Sequence[_Entry]) -> str | None:
    """`/settings/FirstLogonCommands/…: Value is invalid.`, where Windows has named one."""
    found: dict[str, str] = {}
    for entry in entries:
        dumped = SMI.search(entry.text)
        if dumped:
            found.setdefault(dumped["what"], dumped["value"])
    if len(found) < 2:
        return None
    setting = SETTING.search(found["Source"])
    return f"{setting[0] if setting else found['Source']}: {found['Description']}"
