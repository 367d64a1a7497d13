# SPDX-License-Identifier: GPL-3.0-or-later
"""Without a package that validation needs, the answer is what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from openngt.customization.model import Customization, Script
from openngt.customization.schemas import Schemas
from openngt.customization.validation import validate
from openngt.errors import OpenNGTError
try:
    validate(Customization(scripts=(Script({content!r}),)), Schemas({{}}, {{}}))
except OpenNGTError as error:
    print(error.code, error.message)
"""


@pytest.mark.parametrize(
    ("package", "name", "content"),
    [
        ("yaml", "PyYAML", b"#cloud-config\na: b\n"),
        ("jsonschema", "jsonschema", b"#cloud-config\na: b\n"),
        ("jinja2", "Jinja2", b"## template: jinja\n#!/bin/sh\n"),
    ],
)
def test_the_missing_library_is_named(package: str, name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(content=content)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(f"LIBRARY_MISSING the Python library {name}"), done.stderr
