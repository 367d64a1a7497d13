# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's network cards, as a real QEMU process has made them and as a start command says."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.hypervisors.qemu_cards import described_cards

from .conftest import Machine, describe

OFF = "11111111-2222-3333-4444-555555555555"
ONE, TWO = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"


def test_a_vm_that_runs_tells_every_card_whatever_its_kind(directory: Path, start: Callable[..., Machine]) -> None:
    cards = ["-netdev", "user,id=net0", "-device", f"virtio-net-pci,netdev=net0,mac={ONE.upper()}"]
    with_cards = start("web1", *cards, "-nic", f"user,model=e1000,mac={TWO}")
    without = start("web2")
    adapter = QemuHypervisor(directory)
    assert sorted(asyncio.run(adapter.network_cards(with_cards.vm_uuid)) or ()) == [ONE, TWO]
    assert asyncio.run(adapter.network_cards(without.vm_uuid)) == ()


def test_of_a_vm_that_is_off_the_start_command_tells(directory: Path) -> None:
    describe(directory, "web1", vm_name="web1", vm_uuid=OFF, qmp="no.socket")
    adapter = QemuHypervisor(directory)
    assert asyncio.run(adapter.network_cards(OFF)) is None, "nothing is said about its start"
    path = directory / "web1/vm.json"
    command = ["/usr/bin/qemu-system-x86_64", "-nic", f"user,mac={ONE}"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "start": command}))
    assert asyncio.run(adapter.network_cards(OFF)) == (ONE,)


COMMANDS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "cards of every form": (
        f"-netdev user,id=n -device virtio-net-pci,netdev=n,mac={ONE} -net nic,macaddr={TWO} -net user",
        (ONE, TWO),
    ),
    "none at all": ("-nodefaults -device virtio-scsi-pci", ()),
    "a card of QEMU's own choice": ("-m 512", None),
    "an address of QEMU's own choice": (f"-nic user,mac={ONE} -nic user", None),
    "another file says more": (f"-readconfig more.cfg -nic user,mac={ONE}", None),
}


@pytest.mark.parametrize("case", COMMANDS.values(), ids=COMMANDS.keys())
def test_what_a_start_command_does_not_say_is_not_guessed(case: tuple[str, tuple[str, ...] | None]) -> None:
    words, cards = case
    assert described_cards(["qemu-system-x86_64", *words.split()]) == cards
    assert described_cards(["systemctl", "start", *words.split()]) is None
