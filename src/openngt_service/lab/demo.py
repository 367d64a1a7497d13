# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: two real VMs from nothing to a proven link, from the built artefacts, and nothing left afterwards."""

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rich.console import Console
from rich.table import Table

from openngt.errors import OpenNGTError

from ..hypervisors.qemu import drives_of
from ..hypervisors.qmp import open_qmp
from .accelerator import choose_accelerator
from .demo_views import Row, compare, guest_view, service_view
from .image import ensure_image
from .inventory import inventory
from .process import END_SIGNALS, processes_naming, run_logged
from .service_process import HOST_SEEN_FROM_GUESTS, ServiceProcess, clean_environment
from .vm import Lab

__all__ = ["Demo", "main"]

VMS = ("web1", "db1")
END_SECONDS = 15.0
RECAP = re.compile(r"^(?P<host>\S+)\s*:\s*(?P<counts>ok=.*)$")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def detail(line: str) -> None:
    say("   " + line)


class Demo:
    """Everything lives below `directory`; `dist` holds the tarball and the wheel."""

    def __init__(self, directory: Path, dist: Path) -> None:
        self.directory = directory.absolute()
        self.dist = dist.absolute()
        self.logs = self.directory / "logs"
        self.lab = Lab(self.directory / "lab", detail)
        self.bin = self.directory / "venv/bin"
        self.service = ServiceProcess(self.directory, self.bin / "openngt", self.logs / "service.log")
        self.state = self.service.state
        self.step = "start"

    # The steps, in their order.

    def run(self) -> None:
        steps: list[tuple[str, Callable[[], None]]] = [
            ("End what an earlier demo left", self.begin),
            ("Install wheel and collection from the artefacts", self.install_artefacts),
            ("Build the guest image (cached) and start " + " and ".join(VMS), self.start_vms),
            ("Start the service", self.start_service),
            ("Install the agents: ansible-playbook openngt.guest_tools.install", self.first_play),
            ("Compare what the service knows with what the guests answer", self.compare_views),
            ("Run the playbook again: nothing may change", self.second_play),
            ("Prove that no ISO file and no mount is left", self.prove_clean),
        ]
        for number, (title, action) in enumerate(steps, start=1):
            self.step = title
            say(f"== {number}/{len(steps)} {title}")
            action()

    def begin(self) -> None:
        self.shut_down()
        shutil.rmtree(self.logs)

    def install_artefacts(self) -> None:
        wheel, tarball = self._artefact("openngt-*.whl"), self._artefact("openngt-guest_tools-*.tar.gz")
        if not (self.bin / "python").exists():
            run_logged([sys.executable, "-m", "venv", str(self.directory / "venv")], self._log("pip"))
        pip = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        detail(f"{wheel.name} and ansible-core, in {self.bin.parent}")
        run_logged([*pip, str(wheel), "ansible-core>=2.16"], self._log("pip"))
        run_logged([*pip, "--force-reinstall", "--no-deps", str(wheel)], self._log("pip"))
        detail(f"{tarball.name}, in {self.directory / 'collections'}")
        # Its guests run Linux, so what Windows guests need is not asked of Galaxy.
        galaxy = [str(self.bin / "ansible-galaxy"), "collection", "install", "--offline", "--no-deps", "--force"]
        command = [*galaxy, "-p", str(self.directory / "collections"), str(tarball)]
        run_logged(command, self._log("galaxy"), self._ansible_environment())

    def start_vms(self) -> None:
        image = ensure_image(detail)
        accelerator = choose_accelerator(image, detail)
        for vm in [self.lab.start(name, image, accelerator) for name in VMS]:
            self.lab.wait(vm)

    def start_service(self) -> None:
        settings = self.service.configure(self.lab.directory)
        api, gateway = settings["api_port"], settings["gateway_port"]
        self._write_inventory(gateway)
        detail(f"API https://127.0.0.1:{api}, agents at {HOST_SEEN_FROM_GUESTS}:{gateway}, log {self._log('service')}")
        self.service.start()

    def first_play(self) -> None:
        self._play("install-1")

    def compare_views(self) -> None:
        rows: list[Row] = []
        records = {vm["vm_name"]: vm for vm in self._openngt_json("vm", "list")}
        for vm in self.lab.vms():
            rows += compare(vm.name, service_view(records[vm.name]), guest_view(vm))
        show(rows)
        wrong = [f"{row.vm}: {row.fact}" for row in rows if not row.agrees]
        if wrong:
            raise OpenNGTError("INTERNAL", "service and guest differ in " + ", ".join(wrong))
        dead = [row.vm for row in rows if row.fact == "link active" and row.service is not True]
        if dead:
            raise OpenNGTError("LINK_NOT_ACTIVE", "no link to " + ", ".join(dead))

    def second_play(self) -> None:
        changed = {host: counts["changed"] for host, counts in self._play("install-2").items() if counts["changed"]}
        if changed:
            raise OpenNGTError("INTERNAL", f"the second run changed something: {changed}")
        detail("changed=0 on every host")

    def prove_clean(self) -> None:
        left = [str(path) for path in (self.state / "iso").glob("*.iso")]
        for vm in self.lab.vms():
            done = vm.ssh("findmnt -rno TARGET -t iso9660; blkid -L NUTANIX_TOOLS")
            left += [f"{vm.name}: {line}" for line in done.stdout.split()]
            left += asyncio.run(self._loaded_drives(vm.lab_qmp, vm.name))
        if left:
            raise OpenNGTError("INTERNAL", "left over: " + ", ".join(left))
        detail("0 ISO files, 0 mounts, every CD-ROM drive empty")

    # The end, and looking around.

    def shut_down(self) -> None:
        """Ends service and VMs of this demo, of an earlier run too, and deletes their data; logs stay."""
        self.service.stop()
        self.lab.down()
        run_logged(["rm", "-rf", "--", str(self.state)], self._log("end"))

    def prove_ended(self) -> None:
        """SSH connections that Ansible keeps open notice the end of their guest a moment later."""
        deadline = time.monotonic() + END_SECONDS
        while (left := processes_naming(str(self.directory))) and time.monotonic() < deadline:
            time.sleep(0.2)
        if left:
            raise OpenNGTError("INTERNAL", f"processes left over: {sorted(left)}")
        say("0 processes left; logs are in " + str(self.logs))

    def explain_keep(self) -> None:
        directory = f"--directory {self.lab.directory}"
        openngt = self.bin / "openngt"
        say("The demo goes on running. Look around:")
        for name in VMS:
            say(f"  {openngt} lab ssh {directory} {name}")
        say(f"  {openngt} --state-dir {self.state} vm list")
        endpoint = self.state / "api.endpoint"
        say("  API: " + (endpoint.read_text(encoding="utf-8").strip() if endpoint.exists() else "not started"))
        say("End it: make demo-down")

    # How it is done.

    def _artefact(self, pattern: str) -> Path:
        found = list(self.dist.glob(pattern))
        if len(found) != 1:
            raise OpenNGTError("INVALID_INPUT", f"{self.dist} must hold one {pattern}, not {len(found)}: scripts/dist")
        return found[0]

    def _log(self, name: str) -> Path:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{name}.log"

    def _ansible_environment(self) -> dict[str, str]:
        home = self.directory / "ansible"
        home.mkdir(parents=True, exist_ok=True)
        (home / "ansible.cfg").write_text("[defaults]\nnocows = true\n", encoding="ascii")
        return {
            **clean_environment(),
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory / "collections"),
        }

    def _write_inventory(self, gateway_port: int) -> None:
        document = inventory(self.lab, self.lab.vms(), "admin")
        document["all"]["vars"] |= {
            "guest_agent_gateway_host": HOST_SEEN_FROM_GUESTS,
            "guest_agent_gateway_port": gateway_port,
        }
        path = self.directory / "inventory.yml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def _openngt_json(self, *arguments: str) -> Any:
        command = [str(self.bin / "openngt"), "--state-dir", str(self.state), *arguments, "--output", "json"]
        return json.loads(run_logged(command, self._log("openngt"), clean_environment()))

    def _play(self, name: str) -> dict[str, dict[str, int]]:
        """Run the playbook; counts of the recap by host."""
        environment = {**self._ansible_environment(), **self.service.environment()}
        command = [str(self.bin / "ansible-playbook"), "openngt.guest_tools.install"]
        command += ["-i", str(self.directory / "inventory.yml")]
        output = run_logged(command, self._log(name), environment, each_line=detail)
        return recap(output)

    async def _loaded_drives(self, socket: Path, name: str) -> list[str]:
        async with open_qmp(socket, name, 10.0) as qmp:
            if qmp is None:
                raise OpenNGTError("VM_POWERED_OFF", f"{name} has ended during the demo")
            drives = drives_of(await qmp.execute("query-block"))
        return [f"{name}: {drive.name} holds {drive.holds}" for drive in drives if drive.state != "empty"]


def recap(output: str) -> dict[str, dict[str, int]]:
    """`PLAY RECAP` as numbers; INTERNAL unless every VM stands in it."""
    hosts = {}
    for line in output.splitlines():
        if match := RECAP.match(line):
            hosts[match["host"]] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match["counts"])}
    if not set(VMS) <= hosts.keys():
        raise OpenNGTError("INTERNAL", f"the play's recap names {sorted(hosts)} instead of {sorted(VMS)}")
    return hosts


def show(rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("VM", "FACT", "SERVICE", "GUEST", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(row.vm, row.fact, _cell(row.service), _cell(row.guest), "same" if row.agrees else "DIFFERENT")
    Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False).print(table)


def _cell(value: Any) -> str:
    return {True: "yes", False: "no", None: "-"}.get(value, str(value)) if not isinstance(value, str) else value


def interrupt(number: int, _frame: object) -> NoReturn:
    """Every signal that ends a program ends the demo through its shutdown."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def attempt(demo: Demo, *, keep: bool) -> int:
    """Exit status. Whatever happens, everything is shut down, unless it is to be kept for looking around."""
    status = 1
    for number in END_SIGNALS:
        signal.signal(number, interrupt)
    try:
        demo.run()
        status = 0
    except OpenNGTError as error:
        say(f"FAILED in step: {demo.step}\n{error.message} [{error.code}]\nremedy: {error.remedy}\nlogs: {demo.logs}")
    except KeyboardInterrupt:
        say(f"interrupted in step: {demo.step}; logs: {demo.logs}")
        status = 130
    finally:
        if keep:
            demo.explain_keep()
        else:
            for number in END_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            say("== Shut everything down")
            demo.shut_down()
            demo.prove_ended()
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="folder of the demo; logs stay in it")
    parser.add_argument("--dist", type=Path, required=True, help="folder with the tarball and the wheel")
    parser.add_argument("--keep", action="store_true", help="leave VMs and service running")
    parser.add_argument("--down", action="store_true", help="only end what a kept demo left running")
    options = parser.parse_args()
    demo = Demo(options.directory, options.dist)
    if options.down:
        demo.shut_down()
        demo.prove_ended()
        return 0
    return attempt(demo, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
