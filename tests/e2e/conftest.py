# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real Debian guests, started once for all tests of this folder and ended with the session."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.lab.accelerator import choose_accelerator
from openngt_service.lab.image import ensure_image
from openngt_service.lab.vm import Lab, LabVm


@dataclass(frozen=True)
class Guests:
    """`web` has two empty CD-ROM drives, `db` a user's own disc in `cd1`."""

    lab: Lab
    web: LabVm
    db: LabVm
    users_disc: Path


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    folder = tmp_path_factory.mktemp("guests")
    users_disc = folder / "users.iso"
    users_disc.write_bytes(bytes(64 * 2048))

    def report(line: str) -> None:
        sys.stderr.write(line + "\n")

    image = ensure_image(report)
    accelerator = choose_accelerator(image, report)
    lab = Lab(folder / "lab", report)
    try:
        web = lab.start("web", image, accelerator)
        db = lab.start("db", image, accelerator, cdrom=users_disc)
        for vm in (web, db):
            lab.wait(vm)
        yield Guests(lab, web, db, users_disc)
    finally:
        lab.down()


@pytest.fixture
def adapter(guests: Guests) -> QemuHypervisor:
    return QemuHypervisor(guests.lab.directory, answer_seconds=20, release_seconds=30)
