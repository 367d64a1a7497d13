# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that writes YAML; PyYAML comes with Ansible and with the service.

Where the package is missing, importing this file still works, so that a module can answer with LIBRARY_MISSING instead
of a traceback.
"""

from __future__ import annotations

from typing import Any

from ..errors import OpenNGTError

try:
    import yaml
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None

    class _Dumper(yaml.SafeDumper):
        """Text of several lines as a block, as a person would write it, and no anchors, which few readers expect."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
        # PyYAML writes these line breaks as they are but reads them as LF, unless they are quoted.
        style = '"' if set(text) & set("\x85\u2028\u2029") else "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    _Dumper.add_representer(str, _text)


__all__ = ["dump"]

WIDTH = 1 << 20
"""Lines are not folded: keys and commands are long, and are searched for."""


def dump(value: object) -> str:
    """YAML 1.1 that PyYAML's safe loader reads as `value`: JSON's types, in their order. LIBRARY_MISSING."""
    if MISSING is not None:
        raise OpenNGTError("LIBRARY_MISSING", f"the Python library PyYAML is needed: {MISSING}") from MISSING
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text
