# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab and a service of their own: VMs with cloud-init, whose first boot is the test's."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openngt.client import Client
from openngt_service.lab.accelerator import Accelerator, choose_accelerator
from openngt_service.lab.image import Image, ensure_image
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import Lab

from ..conftest import program
from .conftest import WarmVm
from .hands import LIMIT_SECONDS
from .last_will import ended_with_us

__all__ = ["Workbench", "workbench"]

ENDS = ("done", "failed", "timed_out")


@dataclass(frozen=True)
class Workbench:
    lab: Lab
    service: ServiceProcess
    client: Client
    image: Image
    accelerator: Accelerator

    def made_ready(self, name: str) -> WarmVm:
        """A VM that never booted; the service starts it."""
        return WarmVm(**vars(self.lab.start(name, self.image, self.accelerator, cloud_init=True, off=True)))

    def customize(self, vm: WarmVm, spec: dict[str, Any]) -> dict[str, Any]:
        """The result of the task: its disc is in a drive."""
        task = self.client.wait_task(self.client.customize(vm.vm_uuid, spec), LIMIT_SECONDS)
        result: dict[str, Any] = task["result"]
        return result

    def ended(self, vm: WarmVm) -> dict[str, Any]:
        """The VM's row when it has come to an end, whichever."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while (row := self.client.customization(vm.vm_uuid))["state"] not in ENDS:
            assert time.monotonic() < deadline, (row, vm.console.read_text(errors="replace")[-2000:])
            time.sleep(0.5)
        return row


@contextlib.contextmanager
def workbench(folder: Path) -> Iterator[Workbench]:
    image = ensure_image(lambda line: None)
    accelerator = choose_accelerator(image, lambda line: None)
    lab = Lab(folder / "lab", lambda line: None)
    lab.directory.mkdir(parents=True)
    service = ServiceProcess(folder / "service", Path(program("openngt")), folder / "service/service.log")
    service.directory.mkdir()
    service.configure(lab.directory)
    with contextlib.ExitStack() as end:
        end.enter_context(ended_with_us("lab", lab.directory))
        end.callback(lab.down)
        end.enter_context(ended_with_us("service", service.directory))
        end.callback(service.stop)
        service.start()
        client = end.enter_context(service.client())
        yield Workbench(lab, service, client, image, accelerator)
