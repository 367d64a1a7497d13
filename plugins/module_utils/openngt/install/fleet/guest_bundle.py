# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's program as bytes for a Python's standard input, built from the library's own source as it is loaded here.

It is imported from memory in the guest, so that no file of it is ever written there.
"""

from __future__ import annotations

import ast
import functools
import marshal
import threading
import zlib
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER

from ...agent_bundle import source_of
from .. import guest_side

__all__ = ["BOOTSTRAP", "package", "standard_modules"]

LIBRARY = "openngt"
"""The library's name in the guest, whatever it is here (in a collection it is a longer one)."""

# For `python -c`. File 0 is read through a copy: guest_side closes it for all others. Nearly all that the program makes
# is imported and stays, so looking for garbage is work for nothing.
BOOTSTRAP = (
    "import gc, os, zlib; gc.disable(); "
    'stream = os.fdopen(os.dup(0), "rb"); exec(zlib.decompress(stream.read(int(stream.readline()))))'
)

LOADER = """\
import importlib.machinery
import importlib.util
import marshal
import sys
import zlib

magic, length = stream.readline().split()
content = stream.read(int(length))
fits = magic.decode() == importlib.util.MAGIC_NUMBER.hex()
CODES = marshal.loads(zlib.decompress(content)) if fits else {{}}
SOURCES = {sources!r}
PACKAGES = {packages!r}


class Loader:
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return importlib.machinery.ModuleSpec(name, self, is_package=name in PACKAGES)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        code = marshal.loads(CODES[name]) if name in CODES else compile(SOURCES[name], "<" + name + ">", "exec")
        exec(code, module.__dict__)


sys.meta_path.insert(0, Loader())
from {start} import main

main(stream)
"""


_building = threading.Lock()
"""All threads of a run ask in the same moment, and one of them is enough to build it."""


def package() -> bytes:
    """What BOOTSTRAP reads: a line with the length, then the program; and what that reads: a line with the magic number
    of this Python and a length, then its modules as compiled here, for a guest's Python of the same.
    """
    with _building:
        return _package()


@functools.cache
def _package() -> bytes:
    here = guest_side.__name__.rpartition(".install.")[0]
    found: dict[str, str] = {}
    _collect(here, guest_side.__name__.removeprefix(here + "."), found)
    sources = {f"{LIBRARY}.{name}".rstrip("."): text for name, text in found.items()}
    packages = {name for name in sources if any(other.startswith(name + ".") for other in sources)}
    text = LOADER.format(sources=sources, packages=sorted(packages), start=f"{LIBRARY}.install.guest_side")
    content = zlib.compress(text.encode("utf-8"), 9)
    codes = {
        name: marshal.dumps(compile(text, f"<{name}>", "exec", dont_inherit=True)) for name, text in sources.items()
    }
    compiled = zlib.compress(marshal.dumps(codes), 9)
    magic = MAGIC_NUMBER.hex().encode("ascii")
    return b"%d\n%s%s %d\n%s" % (len(content), content, magic, len(compiled), compiled)


@functools.cache
def standard_modules() -> tuple[str, ...]:
    """What the program imports of the standard library before it says anything; a Python of the guest may lack some."""
    here = guest_side.__name__.rpartition(".install.")[0]
    found: dict[str, str] = {}
    _collect(here, guest_side.__name__.removeprefix(here + "."), found)
    bodies = [ast.parse(BOOTSTRAP).body, *(ast.parse(text).body for text in found.values())]
    imported = [node for body in bodies for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imported if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return tuple(sorted(names - {"__future__"}))


def _collect(library: str, name: str, found: dict[str, str]) -> None:
    """A module below the library, its packages, and all that it imports of the library."""
    if name in found:
        return
    package = name.rpartition(".")[0]
    if name:
        _collect(library, package, found)
    text = source_of(f"{library}.{name}".rstrip(".")).decode("utf-8")
    found[name] = text
    for imported in _relative_imports(text, package):
        _collect(library, imported, found)


def _relative_imports(text: str, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = package.split(".") if package else []
        base = parts[: len(parts) - node.level + 1]
        if node.module:
            yield ".".join([*base, node.module])
        else:
            yield from (".".join([*base, alias.name]) for alias in node.names)
