# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the guest image's packages come from: the host's own apt configuration, as far as it is Debian's."""

import re
from pathlib import Path

__all__ = ["debian_sources", "host_sources"]

ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(?P<suite>\S+)\s+\S")


def host_sources(suite: str, etc_apt: Path = Path("/etc/apt")) -> dict[str, str]:
    """`{file name: content}` of the host's sources for this suite; empty where the host is no Debian of that release.

    In that case mmdebstrap knows Debian's public mirrors by itself.
    """
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    kept = {
        path.name: debian_sources(path.read_text(encoding="utf-8"), suite, deb822=path.suffix == ".sources")
        for path in files
        if path.suffix in (".list", ".sources") and path.is_file()
    }
    return {name: content for name, content in kept.items() if content}


def debian_sources(text: str, suite: str, *, deb822: bool) -> str:
    """The entries of one file whose suites are this release or its updates; others' repositories are left out."""
    separator, entries = ("\n\n", re.split(r"\n\s*\n", text)) if deb822 else ("\n", text.splitlines())
    wanted = _stanza_is_of if deb822 else _line_is_of
    kept = [entry.strip("\n") for entry in entries if wanted(entry, suite)]
    return separator.join(kept) + "\n" if kept else ""


def _line_is_of(line: str, suite: str) -> bool:
    match = ONE_LINE.match(line.strip())
    return match is not None and _is_of(match["suite"], suite)


def _stanza_is_of(stanza: str, suite: str) -> bool:
    fields = {}
    for line in stanza.splitlines():
        name, found, value = line.partition(":")
        if found and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    suites = fields.get("suites", "").split()
    if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
        return False
    return bool(suites) and all(_is_of(name, suite) for name in suites)


def _is_of(name: str, suite: str) -> bool:
    return name == suite or name.startswith((suite + "-", suite + "/"))
