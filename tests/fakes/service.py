# SPDX-License-Identifier: GPL-3.0-or-later
"""The real service as a process of its own, in front of the fake hypervisor; all else in it is real."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.hypervisor import FakeHypervisor

from openngt.client import Client
from openngt_service.cli import main
from openngt_service.hypervisors import ADAPTERS

__all__ = ["ServiceProcess"]

ROOT = Path(__file__).resolve().parents[2]
HYPERVISOR = "OPENNGT_TEST_HYPERVISOR"
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass
class ServiceProcess:
    """`folder` holds the state folder, the fake hypervisor's file, and what the process has written."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def hypervisor(self) -> FakeHypervisor:
        return FakeHypervisor(self.folder / "hypervisor.json")

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def endpoint(self) -> str:
        return (self.state_dir / "api.endpoint").read_text().strip()

    @property
    def token(self) -> str:
        return (self.state_dir / "admin.token").read_text().strip()

    @property
    def ca_file(self) -> str:
        return str(self.state_dir / "ca/ca.pem")

    @property
    def gateway_port(self) -> int:
        [line] = [line for line in self.stdout.splitlines() if line.startswith("gateway")]
        return int(line.partition(" port ")[2].partition(",")[0])

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            HYPERVISOR: str(self.folder / "hypervisor.json"),
            "OPENNGT_STATE_DIR": str(self.state_dir),
            "OPENNGT_CLUSTER_IP": "127.0.0.1",
            "OPENNGT_API_PORT": "0",
            "OPENNGT_GATEWAY_PORT": "0",
            "OPENNGT_GATEWAY_HOST": "127.0.0.1",
            "OPENNGT_RECONCILE_SECONDS": "0.5",
            "OPENNGT_LOG_LEVEL": "debug",
            **{f"OPENNGT_{key.upper()}": value for key, value in self.settings.items()},
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")}
        return {**inherited, **ours}

    def launch(self, extra: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start it and do not wait; for starts that fail."""
        with (self.folder / "stdout").open("a") as stdout, (self.folder / "stderr").open("a") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.service", "serve"],
                cwd=ROOT,
                env={**self.environment, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
            )

    def start(self) -> None:
        """Returns when the service tells its supervisor that it is ready."""
        for name in ("stdout", "stderr"):
            (self.folder / name).write_text("")
        address = f"@openngt-test-{os.getpid()}-{id(self)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind("\0" + address[1:])
            supervisor.settimeout(0.1)
            self.process = self.launch({"NOTIFY_SOCKET": address})
            for _ in range(START_SECONDS * 10):
                try:
                    assert supervisor.recv(100) == b"READY=1"
                    return
                except TimeoutError:
                    assert self.process.poll() is None, self.stderr
        raise AssertionError(f"not ready in time:\n{self.stderr}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status; killed (and so told apart) when it does not end."""
        assert self.process is not None, "start() comes first"
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()

    def client(self, token: str | None = None) -> Client:
        return Client(self.endpoint, token or self.token, self.ca_file)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`openngt …` on the service's host, as a process."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "openngt"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def cli(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The same without the cost of a process."""
        stdout, stderr = io.StringIO(), io.StringIO()
        before, argv = dict(os.environ), sys.argv
        own = {**self.environment, **environment}
        status = 0
        try:
            os.environ.clear()
            os.environ.update(own)
            sys.argv = ["openngt", *arguments]
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os.environ.clear()
            os.environ.update(before)
            sys.argv = argv
        return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


if __name__ == "__main__":
    ADAPTERS["qemu"] = lambda _: FakeHypervisor(Path(os.environ[HYPERVISOR]))
    main()
