# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""The agent as one file, built from the source of its modules wherever those came from.

From a wheel, an editable install or the archive in which Ansible sends a module to a target, the bytes are the same:
sources are read through their loaders, and the zip stores them uncompressed, in one order, with one date and one mode.
"""

import ast
import importlib.util
import io
import marshal
import zipfile
from typing import Dict, List

__all__ = ["agent_modules", "build_zipapp", "compiled_modules", "installer_source", "source_of"]

# Ansible sends along what a source imports by statement: these make it send the agent, and never run, for the agent is
# meant for another machine. They are also the list of what goes into the zipapp: a new module is added here, once.
if False:  # pylint: disable=using-constant-test
    from . import agent  # pylint: disable=unused-import
    from .agent import (  # pylint: disable=unused-import
        adopt,
        answers,
        arguments,
        backoff,
        blocked,
        certificate,
        cli,
        cloud_init,
        compiled,
        config,
        customized,
        disc,
        distributions,
        errors,
        failpoints,
        files,
        first_disc,
        framing,
        getty,
        going_down,
        guest,
        identity,
        install,
        install_ngt,
        install_shared,
        install_steps,
        key_request,
        linux,
        linux_commands,
        machine,
        manifest,
        messages,
        network,
        os_release,
        package,
        paths,
        posix_files,
        protocol,
        runtime_status,
        serial_frames,
        serial_port,
        serial_view,
        service,
        status,
        strict_json,
        system,
        systemd,
        taking,
        times,
        tls,
        transport_policy,
        transport_serial,
        transport_tls,
        uevent,
        uninstall,
        unit,
        upgrade,
        upgrade_disc,
        upgrade_offer,
        upgrade_record,
        verify,
        version,
        waiter,
        windows,
        windows_api,
        windows_commands,
        windows_discs,
        windows_facts,
        windows_files,
        windows_install,
        windows_network,
        windows_port,
        windows_registration,
        windows_scm,
        windows_service,
        wire,
    )

INSTALLER = "install_ngt"
"""Stands on the ISO as a file of its own, outside the zipapp."""

AGENT = "agent"
PACKAGE = "openngt_agent"
"""The agent's name inside the zipapp."""
ELSEWHERE = "windows"
"""How the names begin of what a Linux guest never imports."""

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"""\
# SPDX-License-Identifier: GPL-3.0-or-later
import gc
import sys

gc.disable()  # what is imported stays: to look through it for garbage would take a tenth of the start

from openngt_agent.compiled import use

use(sys.argv[0])

from openngt_agent.cli import main

if hasattr(gc, "freeze"):  # Python 3.7
    gc.freeze()
gc.enable()
sys.exit(main())
"""


def agent_modules() -> List[str]:
    """Modules of the zipapp by their dotted names below `agent`, packages as `__init__`, sorted."""
    names = {"__init__"}
    for node in ast.walk(ast.parse(source_of(__name__))):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            room, _dot, package = node.module.partition(".")
            if room == AGENT:
                prefix = package + "." if package else ""
                names.update(prefix + alias.name for alias in node.names)
                names.update([prefix + "__init__"])
    return sorted(names - {INSTALLER})


def build_zipapp() -> bytes:
    """The content of `ngt_agent.pyz`. LookupError names a module whose source did not come along."""
    files = {"__main__.py": MAIN}
    for name in agent_modules():
        files[_path(name)] = _agent_source(name)
    return _archive(files)


def compiled_modules() -> bytes:
    """The zipapp's modules for a Linux guest as this Python compiles them, for one with the same magic number.

    marshal of {module's name in the zipapp: marshal of its code}.
    """
    codes = {}
    for name in agent_modules():
        if not name.startswith(ELSEWHERE):
            code = compile(_agent_source(name), _path(name), "exec", dont_inherit=True)
            module = "{0}.{1}".format(PACKAGE, name)
            codes[module[: -len(".__init__")] if name == "__init__" else module] = marshal.dumps(code)
    return marshal.dumps(codes)


def installer_source() -> bytes:
    """The content of `install_ngt.py`. LookupError when it did not come along."""
    return _agent_source(INSTALLER)


def _path(name: str) -> str:
    return "{0}/{1}.py".format(PACKAGE, name.replace(".", "/"))


def _archive(files: Dict[str, bytes]) -> bytes:
    stream = io.BytesIO(SHEBANG)
    stream.seek(0, io.SEEK_END)
    # Stored, not deflated: the output of zlib differs between its versions.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def _agent_source(name: str) -> bytes:
    full = "{0}.{1}.{2}".format(__name__.rpartition(".")[0], AGENT, name)
    return source_of(full[: -len(".__init__")] if full.endswith(".__init__") else full)


def source_of(name: str) -> bytes:
    """The bytes of a module's source as its loader has them: from a folder, a zip, or Ansible's collection loader.

    LookupError when it did not come along.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or not spec.origin:
        raise LookupError("the source of {0} did not come along".format(name))
    # Every loader that reads Python from somewhere has it; the type of loaders in general does not say so.
    content = spec.loader.get_data(spec.origin)  # type: ignore[attr-defined]
    return bytes(content)
