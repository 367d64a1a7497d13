# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the service is ready while one of its VMs is not."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.fakes.service import ROOT, ServiceProcess

from .conftest import VM, ended


class RealService(ServiceProcess):
    """In front of the adapter for QEMU."""

    def launch(self, extra: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        with (self.folder / "stdout").open("a") as stdout, (self.folder / "stderr").open("a") as stderr:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "openngt"), "serve"],
                cwd=ROOT,
                env={**self.environment, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
            )


@pytest.fixture
def silent() -> Iterator[Path]:
    """The QMP socket of a VM that hangs: it takes connections and greets nobody."""
    folder = Path(tempfile.mkdtemp(prefix="ngt-"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "qmp"))
        listener.listen(64)
        yield folder / "qmp"
    shutil.rmtree(folder)


def test_one_vm_that_hangs_does_not_make_the_service_look_down(tmp_path: Path, silent: Path) -> None:
    service = RealService(tmp_path, {"qemu_directory": str(tmp_path / "vms")})
    (tmp_path / "vms/hung").mkdir(parents=True)
    described = {"vm_name": "hung", "vm_uuid": VM, "qmp": str(silent)}
    (tmp_path / "vms/hung/vm.json").write_text(json.dumps(described))
    service.start()
    try:
        with service.client() as client:
            assert [vm["power_state"] for vm in client.hypervisor_vms()] == ["unknown"]
        port = int(service.endpoint.rpartition(":")[2])
        context = ssl.create_default_context(cafile=service.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["parts"]["hypervisor"]) == (200, "ok")
        connection.close()
    finally:
        ended(service)
