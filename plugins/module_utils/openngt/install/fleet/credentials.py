# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of credentials `[{"uuid", "vmname", "credentials": {"username", "password"}}]` of the original, and more.

Whatever is wrong with it is told at once: the entry, the field, and what kind of value stands there, never the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from ...errors import OpenNGTError
from .credential_fields import CREDENTIALS, ENTRY, Check
from .known_guests import KnownGuest
from .logins import Entry, Unfit, login_of
from .private_file import PrivateFile, read_private_file
from .report import Refused
from .shapes import nearest, shape_of
from .target import Target

__all__ = ["MOST_BYTES", "Listed", "read_file", "read_stream", "targets_from_list"]

MOST_BYTES = 8 << 20
"""Some 40,000 VMs."""
MOST_PROBLEMS = 20
MOST_DIGITS = 18
LONGEST_NAME_SHOWN = 80


class Listed(NamedTuple):
    """The guests of a list, in its order."""

    targets: list[Target]
    refused: list[Refused]
    """Guests whose login is not possible, though the entry is right."""


class Problem(NamedTuple):
    entry: int | None
    """From 1, as a person counts; None: the list as a whole."""
    field: str | None
    what: str


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys stood in it more than once."""

    twice: tuple[str, ...] = ()


def read_file(path: str) -> PrivateFile:
    """The list's file: the caller's own, 0600 or stricter; see `read_private_file` for what is refused."""
    return read_private_file(path, MOST_BYTES)


def read_stream(stream: BinaryIO) -> bytes:
    """The list from standard input. INVALID_INPUT when it is longer than a list can be."""
    content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _refusal([Problem(None, None, "has more than {0} bytes".format(MOST_BYTES))], None)
    return content


def targets_from_list(
    source: bytes | str | Sequence[Any],
    *,
    known: Mapping[str, KnownGuest] | None = None,
    trust_new: bool = False,
) -> Listed:
    """The guests of a list: JSON text, or what a vaulted variable holds.

    `known` fills in the address of a guest that its entry does not say; else its `vmname` is looked up as a host name.
    `trust_new`: host keys and certificates are trusted on first use, and recorded.

    Raises INVALID_INPUT for a list that has anything wrong in it, as nobody knows then what else was meant otherwise;
    `details.problems` holds an `{"entry", "vmname", "field", "problem"}` for each of the first 20. A user of a domain
    is that guest's own refusal (DOMAIN_USER_UNSUPPORTED).
    """
    entries = _parse(source) if isinstance(source, (bytes, str)) else source
    if not isinstance(entries, (list, tuple)):
        raise _refusal([Problem(None, None, "is {0}, a list is wanted".format(shape_of(entries)))], None)
    if not entries:
        raise _refusal([Problem(None, None, "is empty")], None)
    problems = [problem for number, entry in enumerate(entries, 1) for problem in _judge(number, entry)]
    problems += _doubles(entries)
    listed = Listed([], [])
    faulty = {problem.entry for problem in problems}
    for number, entry in enumerate(entries, 1):
        if number in faulty:
            continue
        wrong = _add(listed, Entry(entry), known or {}, trust_new)
        if wrong is not None:
            problems.append(Problem(number, wrong.field, wrong.what))
    if problems:
        raise _refusal(sorted(problems, key=lambda problem: problem.entry or 0), entries)
    return listed


def _parse(source: bytes | str) -> Any:
    """JSON, strictly. The parser's own errors hold the whole text, so none of them is let out or chained to."""
    content = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    problem = _unreadable(content)
    if problem is None:
        try:
            return json.loads(content, object_pairs_hook=_object, parse_int=_integer, parse_float=_real)
        except json.JSONDecodeError as exc:
            what = exc.msg.partition(":")[0]
            problem = "is not JSON: {0} at line {1}, column {2}".format(what, exc.lineno, exc.colno)
        except UnicodeDecodeError as exc:
            line = content.count(b"\n", 0, exc.start) + 1
            problem = "is not UTF-8: byte {0}, in line {1}".format(exc.start, line)
        except RecursionError:
            problem = "is nested too deeply"
    raise _refusal([Problem(None, None, problem)], None)


def _unreadable(content: bytes) -> str | None:
    if len(content) > MOST_BYTES:
        return "has more than {0} bytes".format(MOST_BYTES)
    if not content.strip():
        return "is empty"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16; save it as UTF-8"
    if content.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark; save it as UTF-8 without one"
    if b"\0" in content:
        return "holds a NUL byte; save it as UTF-8"
    return None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        keys = [pair[0] for pair in pairs]
        found.twice = tuple(sorted({key for key in keys if keys.count(key) > 1}))
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else _real(digits)


def _real(_digits: str) -> float:
    """No field takes a fraction, so its value does not matter."""
    return 0.5


def _judge(number: int, entry: Any) -> list[Problem]:
    """What is wrong with the form of an entry."""
    if not isinstance(entry, Mapping):
        return [Problem(number, None, "is {0}, an object is wanted".format(shape_of(entry)))]
    problems = _judge_fields(number, entry, ENTRY, "", CREDENTIALS)
    if not entry.get("uuid") and not entry.get("vmname"):
        problems.append(Problem(number, "uuid", "is missing; give uuid, vmname or both"))
    credentials = entry.get("credentials")
    if isinstance(credentials, Mapping):
        problems += _judge_fields(number, credentials, CREDENTIALS, "credentials.", ENTRY)
    return problems


def _judge_fields(
    number: int, found: Mapping[str, Any], fields: Mapping[str, Check], prefix: str, others: Mapping[str, Check]
) -> list[Problem]:
    problems = []
    for name, check in fields.items():
        if name in getattr(found, "twice", ()):
            problems.append(Problem(number, prefix + name, "stands there twice"))
        elif name in found:
            wanted = check.wanted_instead(found[name])
            if wanted is not None:
                what = "is {0}; {1} is wanted".format(shape_of(found[name]), wanted)
                problems.append(Problem(number, prefix + name, what))
        elif check.required:
            problems.append(Problem(number, prefix + name, "is missing"))
    problems += [
        Problem(number, prefix.rstrip(".") or None, _stranger(key, fields, prefix, others))
        for key in found
        if key not in fields
    ]
    return problems


def _stranger(key: object, fields: Mapping[str, Check], prefix: str, others: Mapping[str, Check]) -> str:
    """An unknown key is not written out: it may be a value that lost its quotes or its place."""
    if not isinstance(key, str):
        return "has a key that is {0}".format(shape_of(key))
    if key in others:
        return "has {0}, which belongs {1}".format(key, "beside credentials" if prefix else "into credentials")
    meant = nearest(key, fields)
    if meant is not None:
        return "has an unknown key; is {0} meant?".format(meant)
    return "has an unknown key of {0} characters; known are {1}".format(len(key), ", ".join(fields))


def _add(listed: Listed, entry: Entry, known: Mapping[str, KnownGuest], trust_new: bool) -> Unfit | None:
    """Put the guest into its place; what is wrong with the entry otherwise."""
    login = login_of(entry, known.get(entry.vm) or KnownGuest(), trust_new)
    if not isinstance(login, Unfit):
        listed.targets.append(Target(name=entry.name, vm=entry.vm, login=login, python=entry.get("python")))
        return None
    if login.code == "INVALID_INPUT":
        return login
    error = OpenNGTError(login.code, "{0} {1}".format(login.field, login.what), {"field": login.field})
    listed.refused.append(Refused(entry.name, entry.vm, error))
    return None


def _doubles(entries: Sequence[Any]) -> list[Problem]:
    """A VM that stands in the list twice, and two with one name: rows and limit files tell guests apart by it."""
    problems = []
    for field, form in (("uuid", str.lower), ("vmname", str)):
        first: dict[str, int] = {}
        for number, entry in enumerate(entries, 1):
            value = entry.get(field) if isinstance(entry, Mapping) else None
            if not isinstance(value, str) or not value:
                continue
            before = first.setdefault(form(value), number)
            if before != number:
                problems.append(Problem(number, field, "is that of entry {0}, too".format(before)))
    return problems


def _refusal(problems: Sequence[Problem], entries: Any) -> OpenNGTError:
    shown = [
        {
            "entry": each.entry,
            "vmname": _name_to_show(each.entry, entries),
            "field": each.field,
            "problem": each.what,
        }
        for each in problems[:MOST_PROBLEMS]
    ]
    lines = "; ".join(_line(each) for each in shown)
    more = len(problems) - len(shown)
    message = "{0}{1}".format(lines, "; and {0} more".format(more) if more else "")
    if len(problems) > 1:
        message = "{0} problems in the list of credentials: {1}".format(len(problems), message)
    return OpenNGTError("INVALID_INPUT", message, {"problems": shown, "problems_total": len(problems)})


def _line(problem: Mapping[str, Any]) -> str:
    if problem["entry"] is None:
        return "the list of credentials {0}".format(problem["problem"])
    name = "" if problem["vmname"] is None else " ({0})".format(problem["vmname"])
    field = "" if problem["field"] is None else ": {0}".format(problem["field"])
    return "entry {0}{1}{2} {3}".format(problem["entry"], name, field, problem["problem"])


def _name_to_show(number: int | None, entries: Any) -> str | None:
    """The entry's `vmname`, unless it is, or holds, what stands as a credential somewhere in the list."""
    entry = entries[number - 1] if number is not None and entries is not None else None
    name = entry.get("vmname") if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME_SHOWN:
        return None
    if any(secret == name or (len(secret) > 3 and secret in name) for each in entries for secret in _texts(each)):
        return None
    return name


def _texts(entry: Any) -> list[str]:
    """Every text of an entry that may be a secret: all but its names."""
    if not isinstance(entry, Mapping):
        return [entry] if isinstance(entry, str) else []
    credentials = entry.get("credentials")
    values = [value for key, value in entry.items() if key not in ("uuid", "vmname", "host", "credentials")]
    values += list(credentials.values()) if isinstance(credentials, Mapping) else [credentials]
    return [value for value in values if isinstance(value, str)]
