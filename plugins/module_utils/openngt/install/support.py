# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""The distributions that an agent is installed on, and the judgement of an os-release by them.

The table is `openngt_service/compatibility/distributions.json`: data files do not travel to a target, so it stands
here as Python. A row is `tested` when a guest of that release is installed and proven by this project's own tests; the
others are written from the distribution's own files and package lists. docs/prerequisites.md prints it
(scripts/support_table.py).
"""

import shlex
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

__all__ = ["DISTRIBUTIONS", "FAMILIES", "Distribution", "Family", "Verdict", "install_command", "judge", "parse"]

Family = NamedTuple(
    "Family",
    [
        ("name", str),
        ("like", Tuple[str, ...]),  # ID or ID_LIKE words by which an unknown distribution counts to the family
        ("manager", str),
        ("refresh", str),  # shell; empty when the manager refreshes by itself
        ("install", str),  # shell; the packages follow
        ("packages", Dict[str, str]),  # what we need -> the package that brings it
        ("restart", bool),  # packages arrive only with the next boot
    ],
)

Distribution = NamedTuple(
    "Distribution",
    [
        ("ids", Tuple[str, ...]),  # os-release ID
        ("name", str),
        ("family", str),
        ("versions", Tuple[str, ...]),  # VERSION_ID or its leading part; empty: rolling, any
        ("tested", Tuple[str, ...]),  # those of `versions` that our tests install on
    ],
)

# begin of the table: written by scripts/compatibility.py
FAMILIES: Tuple[Family, ...] = (
    Family(
        "debian",
        ("debian", "ubuntu"),
        "apt-get",
        "apt-get -q update",
        "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install",
        {"python": "python3", "tar": "tar"},
        False,
    ),
    Family(
        "rhel", ("rhel", "fedora", "centos"), "dnf", "", "dnf -q -y install", {"python": "python3", "tar": "tar"}, False
    ),
    Family(
        "suse",
        ("suse", "opensuse", "sles"),
        "zypper",
        "",
        "zypper --quiet --non-interactive install --no-recommends",
        {"python": "python3", "tar": "tar"},
        False,
    ),
    Family(
        "suse-transactional",
        ("sle-micro", "sl-micro", "opensuse-microos"),
        "transactional-update",
        "",
        "transactional-update --quiet --non-interactive pkg install --no-recommends",
        {"python": "python3", "tar": "tar"},
        True,
    ),
)

DISTRIBUTIONS: Tuple[Distribution, ...] = (
    Distribution(("debian",), "Debian", "debian", ("11", "12", "13"), ("12",)),
    Distribution(("ubuntu",), "Ubuntu", "debian", ("20.04", "22.04", "24.04", "26.04"), ()),
    Distribution(("rhel",), "Red Hat Enterprise Linux", "rhel", ("8", "9", "10"), ()),
    Distribution(("rocky",), "Rocky Linux", "rhel", ("8", "9", "10"), ()),
    Distribution(("almalinux",), "AlmaLinux", "rhel", ("8", "9", "10"), ()),
    Distribution(("centos",), "CentOS Stream", "rhel", ("8", "9", "10"), ()),
    Distribution(("ol",), "Oracle Linux", "rhel", ("8", "9", "10"), ()),
    Distribution(("fedora",), "Fedora", "rhel", ("41", "42", "43", "44"), ()),
    Distribution(("sles", "sles_sap"), "SUSE Linux Enterprise Server", "suse", ("15", "16"), ()),
    Distribution(("opensuse-leap",), "openSUSE Leap", "suse", ("15", "16"), ()),
    Distribution(("opensuse-tumbleweed",), "openSUSE Tumbleweed", "suse", (), ()),
    Distribution(("sle-micro", "sl-micro"), "SUSE Linux Enterprise Micro", "suse-transactional", ("5", "6"), ()),
)
# end of the table

Verdict = NamedTuple(
    "Verdict",
    [
        ("supported", bool),
        ("tested", bool),
        ("label", str),  # the distribution as its users call it, with the version
        ("family", Optional[str]),  # None: we do not even know its package manager
        ("message", str),  # empty when supported
    ],
)


def parse(text: str) -> Dict[str, str]:
    """Read the content of an os-release file (shell assignments, man 5 os-release); a line that is none is skipped."""
    values: Dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if not separator or key.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:  # an unbalanced quote: the line is damaged, the others are not
            continue
        values[key] = " ".join(words)
    return values


def judge(os_release: Mapping[str, str]) -> Verdict:
    """Is this distribution in the table, and which family's package manager has it?"""
    identifier = os_release.get("ID", "").lower()
    version = os_release.get("VERSION_ID", "")
    label = " ".join(filter(None, [os_release.get("NAME") or identifier or "unknown", version]))
    row = next((row for row in DISTRIBUTIONS if identifier in row.ids), None)
    if row is None:
        family = _family_of([identifier] + os_release.get("ID_LIKE", "").lower().split())
        return Verdict(False, False, label, family, "Unsupported distribution : {0}".format(label.lower()))
    if not row.versions or _listed(version, row.versions):
        return Verdict(True, _listed(version, row.tested), label, row.family, "")
    return Verdict(
        False,
        False,
        label,
        row.family,
        "Unsupported distribution : {0} (supported: {1})".format(label.lower(), ", ".join(row.versions)),
    )


def install_command(family: str, needs: List[str]) -> str:
    """Shell text that installs what is needed (`python`, `tar`) with the family's package manager, as root."""
    row = next(row for row in FAMILIES if row.name == family)
    packages = " ".join(row.packages[need] for need in needs)
    return " && ".join(filter(None, [row.refresh, "{0} {1}".format(row.install, packages)]))


def _listed(version: str, versions: Tuple[str, ...]) -> bool:
    """`9` in the table stands for 9, 9.4 and so on; never for 90."""
    return any(version == listed or version.startswith(listed + ".") for listed in versions)


def _family_of(words: List[str]) -> Optional[str]:
    """By the first word that a family claims: ID first, then ID_LIKE from the closest relative on."""
    for word in words:
        for family in FAMILIES:
            if word in family.like:
                return family.name
    return None
