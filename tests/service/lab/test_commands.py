# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt lab clone`, `snapshot` and `revert` on a real QEMU process with a kernel of a few bytes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from openngt.errors import OpenNGTError
from openngt_service.cli import lab as commands
from openngt_service.lab.image import Image
from openngt_service.lab.vm import Lab, LabVm

from .test_vm import image, lab, vm

__all__ = ["image", "lab", "vm"]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, lab: Lab, image: Image) -> Callable[..., Any]:
    """`openngt lab WORDS`, with the test's image; what it printed as JSON, where it prints any."""
    monkeypatch.setattr(commands, "ensure_image", lambda report: image)
    monkeypatch.setattr(commands, "choose_accelerator", lambda image, report: "tcg")

    def run(*words: str) -> Any:
        done = CliRunner().invoke(commands.app, [*words, "--directory", str(lab.directory)])
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout) if "json" in words else done.stdout

    return run


def test_a_vm_is_copied_kept_and_put_back(say: Callable[..., Any], lab: Lab, vm: LabVm) -> None:
    [copy] = say("clone", "web1", "web1-copy", "--no-wait", "--output", "json")
    assert (copy["name"], copy["state"], copy["cloned_from"]) == ("web1-copy", "on", vm.vm_uuid)
    assert say("snapshot", "web1-copy", "before") == ""
    before = lab.vm("web1-copy").pid
    [reverted] = say("revert", "web1-copy", "before", "--no-wait", "--output", "json")
    assert reverted["state"] == "on" and reverted["vm_uuid"] == copy["vm_uuid"] and lab.vm("web1-copy").pid != before
    assert lab.vm("web1").pid == vm.pid, "the parent runs on"


def test_a_name_that_is_none_is_refused_before_anything_is_made(say: Callable[..., Any], lab: Lab, vm: LabVm) -> None:
    for words in (("clone", "web1", "Not A Name"), ("clone", "nowhere", "web2"), ("snapshot", "web1", "no/name")):
        with pytest.raises(OpenNGTError) as caught:
            say(*words)
        assert caught.value.code in ("INVALID_INPUT", "VM_NOT_FOUND")
    assert [one.name for one in lab.vms()] == ["web1"]
