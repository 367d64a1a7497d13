# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt serve` beside a lab, as a process of its own: for the demo, the tests on real guests and Molecule."""

import contextlib
import json
import os
import subprocess
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openngt.client import Client
from openngt.errors import OpenNGTError

from .process import end_process, free_port, processes_naming, signals_held

__all__ = ["HOST_SEEN_FROM_GUESTS", "ServiceProcess", "clean_environment"]

HOST_SEEN_FROM_GUESTS = "10.0.2.2"  # QEMU's user network maps it to the host's loopback
READY_SECONDS = 60.0
STOP_SECONDS = 20.0


def clean_environment() -> dict[str, str]:
    """Without the caller's own OPENNGT_ and ANSIBLE_ variables: they would change what is to be shown."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("OPENNGT_", "ANSIBLE_"))}


class ServiceProcess:
    """Settings, pid and state stand in `directory`, so that a later process finds and ends what this one started.

    `program` is the `openngt` to run, `log` takes all that it says.
    """

    def __init__(self, directory: Path, program: Path, log: Path) -> None:
        self.directory = directory.absolute()
        self.program = program
        self.log = log
        self.state = self.directory / "state"
        self.settings_file = self.directory / "openngt.toml"
        self.gateway_port = 0
        self._pid_file = self.directory / "service.pid"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, qemu_directory: Path, **more: Any) -> dict[str, Any]:
        """Write the settings, with ports that are free at this moment, for each `start` from now on; what they are."""
        settings: dict[str, Any] = {
            "state_dir": str(self.state),
            "api_port": free_port(),
            "gateway_host": "127.0.0.1",
            "gateway_port": free_port(),
            "cluster_ip": HOST_SEEN_FROM_GUESTS,
            "qemu_directory": str(qemu_directory),
            **more,
        }
        self.gateway_port = settings["gateway_port"]
        self.state.mkdir(mode=0o700, exist_ok=True)
        # A JSON string, number or boolean is a TOML one.
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        self.settings_file.write_text("".join(lines), encoding="utf-8")
        return settings

    def settings(self) -> dict[str, Any]:
        """As `configure` wrote them, by whichever process; empty when it never did."""
        if not self.settings_file.exists():
            return {}
        return tomllib.loads(self.settings_file.read_text(encoding="utf-8"))

    def start(self) -> None:
        """Until it answers the admin; COMMAND_FAILED or COMMAND_TIMED_OUT name the log."""
        with self.log.open("ab") as log, signals_held():
            # Its own session: Ctrl-C is for the caller, who then ends the service in order.
            self._process = subprocess.Popen(
                [str(self.program), "serve", "--config", str(self.settings_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                start_new_session=True,
            )
            self._pid_file.write_text(str(self._process.pid), encoding="ascii")
        self._wait_until_ready(self._process)

    def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """End it by SIGTERM, killed when that takes too long; its exit status where this object has started it."""
        if self._pid_file.exists():
            pid = int(self._pid_file.read_text(encoding="ascii"))
            if pid in processes_naming(str(self.settings_file)):
                end_process(pid, seconds)
            self._pid_file.unlink()
        process, self._process = self._process, None
        return None if process is None else process.wait()

    @property
    def pid(self) -> int:
        """Of the service that this object has started."""
        assert self._process is not None, "not started"
        return self._process.pid

    def environment(self) -> Mapping[str, str]:
        """What the modules and the CLI read, for the admin of the running service."""
        return {
            "OPENNGT_ENDPOINT": self._stated("api.endpoint"),
            "OPENNGT_TOKEN": self._stated("admin.token"),
            "OPENNGT_CA_FILE": str(self.state / "ca/ca.pem"),
        }

    def client(self) -> Client:
        """The admin's. ENDPOINT_UNREACHABLE or OSError before the service is ready."""
        found = self.environment()
        return Client(found["OPENNGT_ENDPOINT"], found["OPENNGT_TOKEN"], found["OPENNGT_CA_FILE"])

    def _stated(self, name: str) -> str:
        return (self.state / name).read_text(encoding="utf-8").strip()

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                last = "".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-5:])
                raise OpenNGTError("COMMAND_FAILED", f"the service ended at once; log: {self.log}\n{last.strip()}")
            with contextlib.suppress(OpenNGTError, OSError), self.client() as client:
                client.vms()
                return
            time.sleep(0.5)
        raise OpenNGTError("COMMAND_TIMED_OUT", f"the service is not ready in {READY_SECONDS:g} s; log: {self.log}")
