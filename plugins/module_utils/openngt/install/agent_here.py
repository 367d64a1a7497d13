# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Install an agent by its own installer inside this process: another start of Python would cost more than the rest."""

import contextlib
import hashlib
import importlib
import io
import marshal
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, Optional

from ..errors import OpenNGTError
from .agent_steps import INSTALL_SECONDS

__all__ = ["install"]

PACKAGE = "openngt_agent"


class Modules:
    """Finder and loader of a zipapp's modules, from memory.

    The agent's own compiled.py takes `digest`, `codes` and `whole` from here, so that nothing is compiled twice.
    """

    def __init__(self, zipapp: bytes, compiled: Optional[bytes]) -> None:
        self.digest = hashlib.sha256(zipapp).digest()
        self.codes: Dict[str, bytes] = {} if compiled is None else marshal.loads(compiled)  # noqa: S302 - see install
        self.whole = compiled is not None
        self._sources = {} if self.whole else _sources(zipapp)

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        if name not in self.codes and name not in self._sources:
            return None
        return ModuleSpec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        name = module.__name__
        if name not in self.codes:
            self.codes[name] = marshal.dumps(self._sources[name]())
        exec(marshal.loads(self.codes[name]), module.__dict__)  # noqa: S102, S302 - as every loader does


def install(
    zipapp: bytes,
    source: str,
    ca_sha256: Optional[str],
    wait_seconds: float,
    allow_unsupported_distribution: bool,
    compiled: Optional[bytes] = None,
) -> Dict[str, Any]:
    """What `ngt_agent.pyz install` answers. `zipapp` is the agent of this library's own version, and no other.

    `compiled`: its modules for this very Python, as agent_bundle has them, from who has sent this program as well.

    A failure is raised with the code, message and remedy that it gave; COMMAND_TIMED_OUT. For a main thread that has
    no other use of SIGALRM meanwhile.
    """
    sys.meta_path.insert(0, Modules(zipapp, compiled))
    commands = importlib.import_module(PACKAGE + ".linux_commands")
    errors = importlib.import_module(PACKAGE + ".errors")
    options = SimpleNamespace(
        source=source,
        ca_sha256=ca_sha256,
        wait=wait_seconds,
        allow_unsupported_distribution=allow_unsupported_distribution,
    )
    try:
        with _at_most(INSTALL_SECONDS + wait_seconds):
            answer: Dict[str, Any] = commands.COMMANDS["install"](commands.this_guest(_say), options)
    except errors.AgentError as exc:
        raise OpenNGTError(exc.code, exc.message, exc.details, exc.remedy) from exc
    return answer


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def late(_number: int, _frame: Any) -> None:
        raise OpenNGTError("COMMAND_TIMED_OUT", "the agent's install did not finish within {0:g} s".format(seconds))

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _sources(zipapp: bytes) -> Dict[str, Callable[[], Any]]:
    """By a module's name what compiles it."""
    import zipfile  # here alone: with compiled modules at hand nothing wants it

    archive = zipfile.ZipFile(io.BytesIO(zipapp))

    def compiling(path: str) -> Callable[[], Any]:
        return lambda: compile(archive.read(path), path, "exec", dont_inherit=True)

    return {_module(path): compiling(path) for path in archive.namelist() if path.startswith(PACKAGE + "/")}


def _module(path: str) -> str:
    name = os.path.splitext(path)[0].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name
