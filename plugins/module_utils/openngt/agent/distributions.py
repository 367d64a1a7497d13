# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The distributions that the agent is installed on.

The full table (families, packages, what is tested) is `openngt_service/compatibility/distributions.json`; the agent
carries these rows as Python, as it imports nothing of its siblings.
"""

from typing import Dict, Mapping, NamedTuple, Tuple

__all__ = ["SUPPORTED", "Verdict", "judge"]

# os-release ID -> VERSION_ID or its leading part; nothing listed: rolling, any.
# begin of the table: written by scripts/compatibility.py
SUPPORTED: Dict[str, Tuple[str, ...]] = {
    "almalinux": ("8", "9", "10"),
    "centos": ("8", "9", "10"),
    "debian": ("11", "12", "13"),
    "fedora": ("41", "42", "43", "44"),
    "ol": ("8", "9", "10"),
    "opensuse-leap": ("15", "16"),
    "opensuse-tumbleweed": (),
    "rhel": ("8", "9", "10"),
    "rocky": ("8", "9", "10"),
    "sl-micro": ("5", "6"),
    "sle-micro": ("5", "6"),
    "sles": ("15", "16"),
    "sles_sap": ("15", "16"),
    "ubuntu": ("20.04", "22.04", "24.04", "26.04"),
}
# end of the table

Verdict = NamedTuple("Verdict", [("supported", bool), ("message", str)])


def judge(os_release: Mapping[str, str]) -> Verdict:
    """Is this distribution in the table? If not, the message says which one it is, as the original's installer does."""
    identifier = os_release.get("ID", "").lower()
    version = os_release.get("VERSION_ID", "")
    versions = SUPPORTED.get(identifier)
    if versions is not None and (not versions or any(_is_of(version, listed) for listed in versions)):
        return Verdict(True, "")
    label = " ".join(filter(None, [os_release.get("NAME") or identifier or "unknown", version])).lower()
    hint = " (supported: {0})".format(", ".join(versions)) if versions else ""
    return Verdict(False, "Unsupported distribution : {0}{1}".format(label, hint))


def _is_of(version: str, listed: str) -> bool:
    """`9` stands for 9, 9.4 and so on; never for 90."""
    return version == listed or version.startswith(listed + ".")
