# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""JSON from somebody who may be hostile: limits before parsing, one meaning or none."""

import json
import re
from typing import Any, Dict, List, Tuple

__all__ = ["MOST_DEPTH", "dump", "load_object"]

MOST_DEPTH = 32
MOST_DIGITS = 64  # a number of a million digits costs seconds

# An escaped character, a quote, a bracket: no repetition, so that no input makes the search slower than linear.
_TOKEN = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


def load_object(data: bytes, limit: int) -> Dict[str, Any]:
    """The one JSON object that `data` (UTF-8) is.

    ValueError, without a word of the content, when it is longer than `limit`, nested deeper than MOST_DEPTH, has a key
    twice in an object, a number that is none of JSON's, or is no object.
    """
    if len(data) > limit:
        raise ValueError("{0} bytes, more than {1}".format(len(data), limit))
    _check_depth(data)
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_short_int,
            parse_float=_short_float,
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as exc:
        raise ValueError("not JSON at byte {0}".format(exc.pos)) from None
    if not isinstance(found, dict):
        raise ValueError("a JSON object is wanted")
    return found


def dump(value: Dict[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no space, UTF-8, no trailing newline."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def _check_depth(data: bytes) -> None:
    depth = 0
    in_string = False
    for match in _TOKEN.finditer(data):
        token = match.group()
        if token == b'"':
            in_string = not in_string
        elif in_string:
            continue
        elif token in (b"{", b"["):
            depth += 1
            if depth > MOST_DEPTH:
                raise ValueError("nested deeper than {0}".format(MOST_DEPTH))
        elif token in (b"}", b"]"):
            depth -= 1


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _short_int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError("a number has more than {0} digits".format(MOST_DIGITS))
    return int(text)


def _short_float(text: str) -> float:
    if len(text) > MOST_DIGITS:
        raise ValueError("a number has more than {0} digits".format(MOST_DIGITS))
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number
