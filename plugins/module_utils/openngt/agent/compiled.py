# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's modules as one Python has compiled them, in a file beside the zipapp (docs/decisions/0016).

Python compiles what it imports from a zip anew at each start, which is half of the agent's start. The file holds for
one zipapp, by its digest, and for one Python, by its magic number; wherever it does not fit, the zipapp's own text is
imported as if it were not there.
"""

import contextlib
import hashlib
import io
import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from typing import Any, Dict, Iterator, Optional, Tuple

__all__ = ["Compiled", "content_for", "fits", "path_beside", "use"]

PACKAGE = "openngt_agent"
ELSEWHERE = PACKAGE + ".windows"
"""How the names begin of what a Linux guest never imports."""


def path_beside(zipapp: str) -> str:
    """Where this Python looks for the compiled modules of a zipapp."""
    return "{0}.{1}".format(os.path.splitext(zipapp)[0], sys.implementation.cache_tag)


def content_for(zipapp: bytes) -> bytes:
    """The file for a zipapp of these bytes and the Python that runs this; without what cannot be compiled.

    What this very process was imported from is not compiled twice; a loader that is `whole` has all there is.
    """
    digest = hashlib.sha256(zipapp).digest()
    loader: Any = getattr(sys.modules[PACKAGE], "__loader__", None)
    ours = getattr(loader, "digest", None) == digest
    codes: Dict[str, bytes] = dict(loader.codes) if ours else {}
    for path, source in () if ours and getattr(loader, "whole", False) else _sources(zipapp):
        name = _module(path)
        if name is not None and name not in codes:
            with contextlib.suppress(SyntaxError, ValueError):
                codes[name] = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
    return _head(digest) + marshal.dumps(codes)


def fits(path: str, zipapp: bytes) -> bool:
    """Does the file hold for a zipapp of these bytes and the Python that runs this?"""
    head = _head(hashlib.sha256(zipapp).digest())
    try:
        with open(path, "rb") as stream:
            return stream.read(len(head)) == head
    except OSError:
        return False


def use(zipapp: str) -> None:
    """Import the agent from the file beside this zipapp from now on, if it fits."""
    with contextlib.suppress(OSError, EOFError, TypeError, ValueError):  # missing, or damaged
        with open(path_beside(zipapp), "rb") as stream:
            found = stream.read()
        with open(zipapp, "rb") as stream:
            digest = hashlib.sha256(stream.read()).digest()
        head = _head(digest)
        if found.startswith(head):
            codes = marshal.loads(found[len(head) :])  # noqa: S302 - root's own, as the zipapp beside it
            sys.meta_path.insert(0, Compiled(digest, codes))


class Compiled:
    """A finder and loader of compiled modules."""

    def __init__(self, digest: bytes, codes: Dict[str, bytes]) -> None:
        self.digest = digest
        self.codes = codes

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        if name not in self.codes:
            return None
        return ModuleSpec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(marshal.loads(self.codes[module.__name__]), module.__dict__)  # noqa: S102, S302 - as every loader does


def _head(digest: bytes) -> bytes:
    return b"openngt compiled 1\n" + MAGIC_NUMBER + digest


def _module(path: str) -> Optional[str]:
    """The name of the module at a path in the zipapp; None for one that is not wanted compiled."""
    name, extension = os.path.splitext(path)
    name = name.replace("/", ".")
    if extension != ".py" or not name.startswith(PACKAGE + ".") or name.startswith(ELSEWHERE):
        return None
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


def _sources(zipapp: bytes) -> Iterator[Tuple[str, bytes]]:
    import zipfile  # here alone: no start wants it

    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(zipapp)) as archive:
        for path in archive.namelist():
            yield path, archive.read(path)
