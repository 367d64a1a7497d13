# SPDX-License-Identifier: GPL-3.0-or-later
"""What a `datastore_path` can be made to name, and what the child that judges makes of the worst contents."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.hostile_customizations import corpus

from openngt.customization.spec import parse
from openngt.errors import OpenNGTError
from openngt_service.customization.checked import ask_child
from openngt_service.customization.datastore import read_datastore

SECRET = b"#!/bin/sh\n# not for guests\n"
VM = {"vm_uuid": "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "vm_name": "web1", "instance_id": "i-1"}


@pytest.fixture
def datastore(tmp_path: Path) -> Path:
    """With a script, and with what people might put beside it to reach a file outside of it."""
    outside, folder = tmp_path / "secret", tmp_path / "datastore"
    outside.write_bytes(SECRET)
    (folder / "web").mkdir(parents=True)
    (folder / "web/first.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "link").symlink_to(outside)
    (folder / "relative-link").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    (folder / "web/inner").symlink_to("first.sh")
    os.mkfifo(folder / "pipe")
    return folder


def read(datastore: Path, path: str) -> bytes:
    spec = {"scripts": [{"datastore_path": path}]}
    return parse(spec, lambda name: read_datastore(datastore, name)).scripts[0].content


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "web/../../secret",
        "web/../web/first.sh",
        "/etc/passwd",
        "./web/first.sh",
        "web//first.sh",
        "web/",
        "web",
        "",
        ".",
        "..",
        "link",
        "relative-link",
        "up/secret",
        "web/inner",
        "web/first.sh\0",
        "pipe",
        "a" * 2000,
        "web/first.sh/more",
    ],
)
def test_no_path_leads_out_of_the_datastore_or_to_what_is_no_file(datastore: Path, path: str) -> None:
    """T28: traversal, symlinks, pipes."""
    with pytest.raises(OpenNGTError) as caught:
        read(datastore, path)
    assert caught.value.details["field"] == "scripts[0].datastore_path"
    assert caught.value.code in ("INVALID_INPUT", "NOT_FOUND", "FILE_UNUSABLE", "PERMISSION_DENIED")
    assert "not for guests" not in str(caught.value.to_dict())


def test_what_lies_in_the_datastore_is_read(datastore: Path) -> None:
    assert read(datastore, "web/first.sh") == b"#!/bin/sh\n"


WORST = [case for case in corpus.cases() if case.name.startswith("generated/")]


@pytest.mark.parametrize("case", WORST[::6], ids=lambda case: case.name)
def test_the_services_child_answers_for_the_worst(case: corpus.Case) -> None:
    """T28, T29: by the case's own code, or where its bounds ended it as too large."""

    def judged(spec: dict[str, Any]) -> list[str]:
        answer = asyncio.run(ask_child(json.dumps({"spec": spec, "vm": VM}).encode()))
        assert answer["error"] is None
        return [one["code"] for one in answer["findings"] if one["severity"] == "error"]

    assert case.code in judged(case.bad)
    assert judged(case.good) == []
