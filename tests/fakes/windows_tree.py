# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of this host as a Windows guest's drives, for scripts that copy and delete files (see powershell_run.py)."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.fakes.powershell_run import Shell
from tests.fakes.powershell_values import PowerShellError, Record

__all__ = ["WindowsTree"]


class WindowsTree:
    """`C:\\Windows` is `<folder>/c/windows`: letter case does not count, as on Windows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locked: set[str] = set()
        """Paths, in lower case, that another process has open."""

    def place(self, path: str) -> Path:
        return self.folder.joinpath(*path.replace(":", "", 1).lower().split("\\"))

    def write(self, path: str, content: bytes) -> None:
        self.place(path).parent.mkdir(parents=True, exist_ok=True)
        self.place(path).write_bytes(content)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def run(self, script: str, script_root: str = "") -> tuple[int, list[Any]]:
        """(exit status, output)."""
        shell = Shell(self._cmdlets(), {}, self._types(), {"WINDIR": "C:\\Windows"})
        shell.scopes[0]["psscriptroot"] = script_root
        output = shell.run(script, {})
        return shell.exit_status, output

    def _free(self, path: str) -> Path:
        if path.lower() in self.locked:
            raise PowerShellError(f"the process cannot access the file '{path}'")
        return self.place(path)

    def _remove(self, arguments: dict[str, Any], _piped: list[Any]) -> list[Any]:
        self._free(arguments["LiteralPath"]).unlink()
        return []

    def _cmdlets(self) -> dict[str, Any]:
        return {
            "set-strictmode": lambda a, p: [],
            "get-date": lambda a, p: ["2026-11-26T10:00:00"],
            "join-path": lambda a, p: [f"{a['Path']}\\{a['ChildPath']}"],
            "test-path": lambda a, p: [self.place(a["LiteralPath"]).exists()],
            "remove-item": self._remove,
            "convertfrom-json": lambda a, p: [json.loads(p[0], object_hook=Record)],
        }

    def _types(self) -> dict[str, Any]:
        tree = self

        class File:
            @staticmethod
            def read_all_text(path: str) -> str:
                return tree.place(path).read_text(encoding="utf-8")

            @staticmethod
            def append_all_text(path: str, text: str) -> None:
                with tree.place(path).open("a", encoding="utf-8") as stream:
                    stream.write(text)

            @staticmethod
            def copy(source: str, target: str, overwrite: bool) -> None:
                assert overwrite
                shutil.copyfile(tree.place(source), tree._free(target))

            @staticmethod
            def set_attributes(path: str, attributes: str) -> None:
                assert (tree.place(path).is_file(), attributes) == (True, "Normal")

        class Directory:
            @staticmethod
            def create_directory(path: str) -> None:
                tree.place(path).mkdir(parents=True, exist_ok=True)

        class Paths:
            @staticmethod
            def get_directory_name(path: str) -> str:
                return path.rpartition("\\")[0]

        return {"file": File, "directory": Directory, "path": Paths}
