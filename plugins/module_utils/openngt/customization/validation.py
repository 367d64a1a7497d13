# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole customization before any of it is written.

Its texts come from strangers. All that is done to them is bounded in size, depth and number, nothing is run, fetched or
expanded without being counted; what remains is the business of the process in which this runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .built_validation import MOST_META_DATA, validate_built
from .file_validation import validate_files
from .findings import finding
from .model import Customization, Finding
from .network_validation import validate_network
from .schemas import Schemas
from .user_data_validation import validate_user_data
from .windows_validation import validate_windows

__all__ = ["MOST_META_DATA", "Schemas", "validate"]

RESERVED = ("instance-id", "instance_id", "uuid")


def validate(customization: Customization, schemas: Schemas) -> list[Finding]:
    """What is wrong with it, errors and warnings, in the order of its parts; empty: nothing.

    A pure function. It raises LIBRARY_MISSING, and nothing else for any content.
    """
    found = [
        *_parts(customization, schemas),
        *_meta_data(customization),
        *_network(customization, schemas),
    ]
    if customization.format == "cloud_init" and not any(item.severity == "error" for item in found):
        found += validate_built(customization)
    return found


def part_of(customization: Customization, number: int) -> str:
    """`scripts[0]`, with the script's name if it has one."""
    name = customization.scripts[number].name
    return f"scripts[{number}] ({name})" if name else f"scripts[{number}]"


def _parts(customization: Customization, schemas: Schemas) -> Iterator[Finding]:
    """Scripts and files; of Windows guests the options, too."""
    if customization.format != "cloud_init":
        yield from validate_windows(customization)
        return
    for number, script in enumerate(customization.scripts):
        yield from validate_user_data(script.content, part_of(customization, number), schemas)
    yield from validate_files(customization.files)


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
