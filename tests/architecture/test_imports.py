# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom: the table in ARCHITECTURE.md, enforced."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "plugins/module_utils/openngt"
AGENT = LIBRARY / "agent"
SERVICE = ROOT / "src/openngt_service"
STDLIB = sys.stdlib_module_names | {"__future__"}

# Who of the library may import the agent: what builds it, and what reads the same in a guest that has none.
DOORS = {"agent_bundle.py": AGENT, "customization/guest_status.py": AGENT / "cloud_init"}

# Third-party packages of the library: each in the one leaf file that guards it.
LIBRARY_LEAVES = {
    "cryptography": {"pki/_x509.py"},
    "defusedxml": {"customization/_defusedxml.py"},
    "paramiko": {"install/transports/_paramiko.py"},
    "kerberos": {"install/transports/_pykerberos.py"},
    "jinja2": {"customization/_jinja2.py"},
    "jsonschema": {"customization/_jsonschema.py"},
    "pycdlib": {"iso/_pycdlib.py"},
    # pywinrm, and what it brings along and raises through.
    "requests": {"install/transports/_pywinrm.py"},
    "spnego": {"install/transports/_pywinrm.py"},
    "urllib3": {"install/transports/_pywinrm.py"},
    "winrm": {"install/transports/_pywinrm.py"},
    "yaml": {"customization/_yaml.py", "customization/_yaml_events.py"},
}


def imports(path: Path) -> Iterator[tuple[int, str, int]]:
    """(level, dotted module, line) of each import statement, those inside functions and `if` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.level, node.module, node.lineno
            else:
                for alias in node.names:
                    yield node.level, alias.name, node.lineno


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def target_of_relative(path: Path, level: int, module: str) -> Path:
    base = path.parent
    for _ in range(level - 1):
        base = base.parent
    return base.joinpath(*module.split("."))


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", python_files(AGENT), ids=ids)
def test_agent_imports_the_standard_library_and_itself(path: Path) -> None:
    for level, module, line in imports(path):
        if level:
            assert target_of_relative(path, level, module).is_relative_to(AGENT), f"{path}:{line} leaves the agent"
        else:
            assert module.split(".")[0] in STDLIB | {"winreg"}, f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", [p for p in python_files(LIBRARY) if not p.is_relative_to(AGENT)], ids=ids)
def test_library_imports_stdlib_itself_and_guarded_leaves(path: Path) -> None:
    relative = str(path.relative_to(LIBRARY))
    for level, module, line in imports(path):
        top = module.split(".")[0]
        if level:
            target = target_of_relative(path, level, module)
            assert target.is_relative_to(LIBRARY), f"{path}:{line} leaves the library"
            if target.is_relative_to(AGENT):
                allowed = relative in DOORS and target.is_relative_to(DOORS[relative])
                assert allowed, f"{path}:{line}: only {sorted(DOORS)} may import the agent"
        elif top not in STDLIB:
            assert relative in LIBRARY_LEAVES.get(top, set()), f"{path}:{line} imports {module} outside its leaf"


@pytest.mark.parametrize("path", python_files(SERVICE), ids=ids)
def test_service_takes_the_library_by_pip_name_and_never_the_agent_or_ansible(path: Path) -> None:
    for level, module, line in imports(path):
        assert not module.startswith(("openngt.agent.", "ansible", "plugins")), f"{path}:{line} imports {module}"
        assert module != "openngt.agent", f"{path}:{line} imports the agent"
        if level:
            assert target_of_relative(path, level, module).is_relative_to(SERVICE), f"{path}:{line} leaves the service"


@pytest.mark.parametrize(
    "path",
    [
        p
        for room in ("modules", "action", "filter", "inventory", "doc_fragments", "plugin_utils")
        for p in python_files(ROOT / "plugins" / room)
    ],
    ids=ids,
)
def test_plugins_import_ansible_and_the_library_relatively(path: Path) -> None:
    for level, module, line in imports(path):
        top = module.split(".")[0]
        if level:
            target = target_of_relative(path, level, module)
            shared = [ROOT / "plugins/module_utils"]
            if path.is_relative_to(ROOT / "plugins/action"):
                shared.append(ROOT / "plugins/plugin_utils")  # what runs on the controller alone
            assert any(target.is_relative_to(room) for room in shared), f"{path}:{line} leaves {shared}"
            assert not target.is_relative_to(AGENT), f"{path}:{line}: plugins reach the agent through agent_bundle only"
        else:
            assert top in STDLIB | {"ansible"}, f"{path}:{line} imports {module}"
