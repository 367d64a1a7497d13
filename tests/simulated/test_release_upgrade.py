# SPDX-License-Identifier: GPL-3.0-or-later
"""From one release to the next: the database and the agents of the earlier one, before the service of this tree."""

import json
import subprocess
from pathlib import Path

import pytest

from openngt.version import __version__

from ..conftest import program
from ..fakes.earlier_release import lay_earlier_release
from ..fakes.waiting import until
from .conftest import World


def agent_versions(world: World) -> dict[str, str]:
    with world.service.client() as client:
        return {vm["vm_name"]: vm["agent_version"] for vm in client.vms()}


@pytest.mark.slow
@pytest.mark.nightly
def test_what_the_earlier_release_has_left_goes_on_and_is_upgraded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = lay_earlier_release(tmp_path / "earlier")
    world.service.stop()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "earlier"))
    world.service.start()
    monkeypatch.delenv("PYTHONPATH")
    world.fleet.add("web1", "db1")
    world.fleet.start()
    report = world.install(world.targets())
    assert report.error is None and world.proven() == {"web1", "db1"}
    assert agent_versions(world) == {"web1": earlier, "db1": earlier}

    world.service.stop()
    world.service.start()
    until(lambda: world.proven() == {"web1", "db1"}, "the earlier agents are back")
    assert agent_versions(world) == {"web1": earlier, "db1": earlier}
    command = [program("openngt"), "upgrade", "run", "--output", "json"]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["task"]["result"] == {"upgraded": 2}
    until(lambda: world.proven() == {"web1", "db1"}, "the new agents have their links")
    assert agent_versions(world) == {"web1": __version__, "db1": __version__}
