#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the version of the next release into all that carries it: `scripts/set_version.py 0.2.0`.

That is four files that are compared at a release, and the pages, whose readers copy the names of its files. What tells
when something came (`version_added`) stays.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from release import AGENT, HERE, LIBRARY, OF_A_FILE, pages, released, said_versions

VERSIONED = ("galaxy.yml", "pyproject.toml", LIBRARY, AGENT)
# Of `version: 0.1.0`, `version = "0.1.0"` and `__version__ = "0.1.0"`.
STATEMENT = r'^((?:__version__|version)(?: = "|: )){}("?)$'


def changed(root: Path, version: str) -> Iterator[str]:
    """The files that are written, by name."""
    said = said_versions(root)
    for name in VERSIONED:
        if replace(root / name, STATEMENT.format(re.escape(said[name])), rf"\g<1>{version}\2"):
            yield name
    for page in pages(root):
        former = {*said.values(), *OF_A_FILE.findall(page.read_text(encoding="utf-8"))}
        if replace(page, rf"(?<![\d.])({'|'.join(map(re.escape, former))})(?!\.?\d)", version):
            yield str(page.relative_to(root))


def replace(path: Path, pattern: str, by: str) -> bool:
    """Whether the file is another one now."""
    text = path.read_text(encoding="utf-8")
    other = re.sub(pattern, by, text, flags=re.M)
    if other != text:
        path.write_text(other, encoding="utf-8")
    return other != text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--root", type=Path, default=HERE, help="the tree that is written to")
    options = parser.parse_args()
    if not released(options.version):
        sys.exit(f"{options.version} is no version of a release: MAJOR.MINOR.PATCH")
    for name in changed(options.root, options.version):
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
