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
import zipfile
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any, Dict, Iterator, Optional

from ..errors import OpenNGTError
from .agent_steps import INSTALL_SECONDS

__all__ = ["install"]

PACKAGE = "openngt_agent"


class Modules:
    """Finder and loader of a zipapp's modules, from memory.

    The agent's own compiled.py takes `digest` and `codes` from here, so that nothing is compiled twice.
    """

    def __init__(self, zipapp: bytes) -> None:
        self.digest = hashlib.sha256(zipapp).digest()
        self.codes: Dict[str, bytes] = {}
        self._zip = zipfile.ZipFile(io.BytesIO(zipapp))
        self._paths = {_module(path): path for path in self._zip.namelist() if path.startswith(PACKAGE + "/")}

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        if name not in self._paths:
            return None
        return ModuleSpec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        path = self._paths[module.__name__]
        code = compile(self._zip.read(path), path, "exec", dont_inherit=True)
        self.codes[module.__name__] = marshal.dumps(code)
        exec(code, module.__dict__)  # noqa: S102 - as every loader does


def install(
    zipapp: bytes, source: str, ca_sha256: Optional[str], wait_seconds: float, allow_unsupported_distribution: bool
) -> Dict[str, Any]:
    """What `ngt_agent.pyz install` answers. `zipapp` is the agent of this library's own version, and no other.

    A failure is raised with the code, message and remedy that it gave; COMMAND_TIMED_OUT. For a main thread that has
    no other use of SIGALRM meanwhile.
    """
    sys.meta_path.insert(0, Modules(zipapp))
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


def _module(path: str) -> str:
    name = os.path.splitext(path)[0].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name
