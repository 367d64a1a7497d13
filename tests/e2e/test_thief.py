# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's user without root who is after the identity: the key on the disc (T3), and the agent's port (T7)."""

import asyncio
import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.agent_client import AgentClient, client_context

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import LabVm

from .conftest import Guests
from .hands import drives, eject, isos, mount, said, until

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

# Whoever may read the raw device needs no file's mode.
STEAL = r"""runuser -u thief -- python3 -c "
import base64, re
raw = open('/dev/sr0', 'rb').read(8 << 20)
print(base64.b64encode(re.search(b'-----BEGIN PRIVATE KEY.*?END CERTIFICATE-----\n', raw, re.S).group()).decode())" """
OPEN_PORT = (
    "runuser -u thief -- python3 -c \"import os; os.open('/dev/ttyS1', os.O_RDWR | os.O_NONBLOCK)\" 2>&1 | tail -1"
)


@pytest.fixture
def thief(guests: Guests) -> Iterator[LabVm]:
    """`web`, with a user `thief` in group cdrom as a desktop's users are."""
    said(guests.web, "useradd --groups cdrom thief")
    yield guests.web
    said(guests.web, "userdel thief")


def knock(client: Client, port: int, pem: Path, ca_file: str) -> bool:
    """Is whoever comes with this pair welcome?"""

    async def run() -> bool:
        context, name = client_context(Path(ca_file), pem), client.ca()["service_name"]
        try:
            agent = await AgentClient.connect(port, context, name)
        except (ConnectionError, ssl.SSLError):
            return False
        try:
            return await agent.read() is not None
        finally:
            agent.close()

    return asyncio.run(run())


def test_a_key_that_was_copied_from_the_disc_opens_nothing_once_the_guest_is_installed(
    thief: LabVm, service: ServiceProcess, client: Client, tmp_path: Path
) -> None:
    pinned = mount(client, thief)["ca_sha256"]
    modes = said(thief, "stat -c %a /mnt/config /mnt/config/client.pem /mnt/config/ngt_config.json").split()
    assert modes == ["500", "400", "400"]
    assert thief.ssh("runuser -u thief -- cat /mnt/config/client.pem").returncode != 0
    assert thief.ssh("runuser -u nobody -- head -c 1 /dev/sr0").returncode != 0, "not in group cdrom"
    stolen = tmp_path / "stolen.pem"
    stolen.write_bytes(base64.b64decode(said(thief, STEAL)))
    assert b"PRIVATE KEY" in stolen.read_bytes(), "the raw device has no modes"

    said(thief, f"python3 /mnt/agent/ngt_agent.pyz install --source /mnt --ca-sha256 {pinned} --wait 180")
    eject(client, thief)
    port = json.loads(said(thief, "cat /usr/local/openngt/config/ngt_config.json"))["port"]
    assert not knock(client, port, stolen, service.environment()["OPENNGT_CA_FILE"])
    record = client.vm(thief.vm_uuid)
    assert record["link"]["last_refusal"]["reason"] == "retired" and record["communication_link_active"]

    assert isos(service.state) == [] and drives(client, thief) == {"cd0": None, "cd1": None}
    assert said(thief, "findmnt -rno TARGET -t iso9660 || :") == ""
    assert thief.ssh("runuser -u thief -- cat /usr/local/openngt/config/identity.pem").returncode != 0

    # T7: the port is root's, and a group's that may open it finds it taken by the agent.
    until(lambda: client.vm(thief.vm_uuid)["transport"] == "serial", "the link over the port")
    assert "Permission denied" in said(thief, OPEN_PORT)
    said(thief, "usermod --append --groups dialout thief")
    assert "busy" in said(thief, OPEN_PORT)
    assert client.vm(thief.vm_uuid)["transport"] == "serial"
