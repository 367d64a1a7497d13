# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that an installation over SSH can cost: paramiko connects, sends bytes and runs one command, in each guest.

python -m bench._fleet_floor PLAN   a JSON object: `hosts`, `port`, `key`, `known_hosts`, `at_once`, `bytes`, `command`
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko

__all__ = ["main"]


def one(plan: dict[str, Any], host: str) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(plan["known_hosts"])
        client.connect(
            host, plan["port"], "root", key_filename=plan["key"], allow_agent=False, look_for_keys=False, timeout=60
        )
        stdin, stdout, stderr = client.exec_command(plan["command"])
        stdin.write(b"\0" * plan["bytes"])
        stdin.channel.shutdown_write()
        said = stdout.read() + stderr.read()
        status = stdout.channel.recv_exit_status()
        if status:
            raise RuntimeError(f"{host}: {status}: {said.decode()[-1000:]}")


def main(path: Path) -> None:
    plan = json.loads(path.read_text())
    with ThreadPoolExecutor(plan["at_once"]) as pool:
        list(pool.map(lambda host: one(plan, host), plan["hosts"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
