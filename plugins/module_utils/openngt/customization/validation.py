# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole customization before any of it is written.

Its texts come from strangers. All that is done to them is bounded in size, depth and number, nothing is run, fetched or
expanded without being counted; what remains is the business of the process in which this runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .file_validation import validate_files
from .findings import finding
from .model import Customization, Finding
from .network_validation import validate_network
from .schemas import Schemas
from .texts import read_text
from .user_data_validation import MOST_USER_DATA, validate_user_data

__all__ = ["MOST_ANSWERS", "MOST_META_DATA", "Schemas", "validate"]

MOST_META_DATA = 32_000
"""Bytes, as the original's API limits them; so is MOST_ANSWERS."""
MOST_ANSWERS = 32_000
RESERVED = ("instance-id", "instance_id", "uuid")


def validate(customization: Customization, schemas: Schemas) -> list[Finding]:
    """What is wrong with it, errors and warnings, in the order of its parts; empty: nothing.

    A pure function. It raises LIBRARY_MISSING, and nothing else for any content.
    """
    return [
        *_scripts(customization, schemas),
        *_meta_data(customization),
        *_network(customization, schemas),
        *_files(customization),
    ]


def part_of(customization: Customization, number: int) -> str:
    """`scripts[0]`, with the script's name if it has one."""
    name = customization.scripts[number].name
    return f"scripts[{number}] ({name})" if name else f"scripts[{number}]"


def _scripts(customization: Customization, schemas: Schemas) -> Iterator[Finding]:
    total = 0
    for number, script in enumerate(customization.scripts):
        part = part_of(customization, number)
        total += len(script.content)
        if customization.format == "cloud_init":
            yield from validate_user_data(script.content, part, schemas)
        elif customization.format == "sysprep" and len(script.content) > MOST_ANSWERS:
            what = f"has {len(script.content)} bytes; {MOST_ANSWERS} is the most for an answer file"
            yield finding("TOO_LARGE", part, what)
        else:
            text = read_text(script.content, part)
            if isinstance(text, Finding):
                yield text
    if len(customization.scripts) > 1 and customization.format != "sysprep" and total > MOST_USER_DATA:
        yield finding(
            "TOO_LARGE", "scripts", f"have {total} bytes together; {MOST_USER_DATA} is the most for user-data"
        )


def _meta_data(customization: Customization) -> Iterator[Finding]:
    meta_data = customization.meta_data
    size = len(json.dumps(dict(meta_data)).encode())
    if size > MOST_META_DATA:
        yield finding("TOO_LARGE", "meta_data", f"has {size} bytes; {MOST_META_DATA} is the most")
    for key in RESERVED:
        if key in meta_data:
            yield finding("BAD_KEY", "meta_data", "is written by us", remedy="give it as instance_id", key=key)


def _network(customization: Customization, schemas: Schemas) -> list[Finding]:
    return [] if customization.network is None else validate_network(customization.network, schemas)


def _files(customization: Customization) -> list[Finding]:
    return validate_files(customization.files) if customization.format == "cloud_init" else []
