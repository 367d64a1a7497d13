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
from .model import Customization, Finding, Script
from .network_validation import validate_network
from .safe_yaml import load
from .schemas import Schemas
from .user_data import kind_of
from .user_data_validation import MOST_USER_DATA, validate_user_data
from .windows_validation import validate_windows

__all__ = ["Schemas", "validate"]

RESERVED = ("instance-id", "instance_id", "uuid")


def validate(customization: Customization, schemas: Schemas) -> list[Finding]:
    """What is wrong with it, errors and warnings, in the order of its parts; empty: nothing.

    A pure function. It raises LIBRARY_MISSING, and nothing else for any content.
    """
    linux = customization.format == "cloud_init"
    found = list(_scripts(customization, schemas) if linux else _of_windows(customization))
    found += _meta_data(customization)
    if customization.network is not None:
        found += validate_network(customization.network, schemas)
    if linux:
        found += validate_files(customization.files)
    if not any(item.severity == "error" for item in found):
        found += validate_built(customization)
    return found


def _scripts(customization: Customization, schemas: Schemas) -> Iterator[Finding]:
    for number, script in enumerate(customization.scripts):
        yield from validate_user_data(script.content, _part(number, script), schemas)


def _of_windows(customization: Customization) -> Iterator[Finding]:
    """cloudbase-init takes cloud-config as well, so its YAML is read within the same bounds first."""
    if customization.format == "cloudbase_init":
        for number, script in enumerate(customization.scripts):
            part = _part(number, script)
            if len(script.content) > MOST_USER_DATA:
                what = f"has {len(script.content)} bytes; {MOST_USER_DATA} is the most for user-data"
                yield finding("TOO_LARGE", part, what)
                return
            if kind_of(script.content) == "cloud_config":
                yield from load(script.content, part).findings
    yield from validate_windows(customization)


def _part(number: int, script: Script) -> str:
    """`scripts[0]`, with the script's name if it has one."""
    return f"scripts[{number}] ({script.name})" if script.name else f"scripts[{number}]"


def _meta_data(customization: Customization) -> Iterator[Finding]:
    meta_data = customization.meta_data
    size = len(json.dumps(dict(meta_data)).encode())
    if size > MOST_META_DATA:
        yield finding("TOO_LARGE", "meta_data", f"has {size} bytes; {MOST_META_DATA} is the most")
    for key in RESERVED:
        if key in meta_data:
            yield finding("BAD_KEY", "meta_data", "is written by us", remedy="give it as instance_id", key=key)
