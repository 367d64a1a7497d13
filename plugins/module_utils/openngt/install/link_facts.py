# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Look at everything in this guest that a link depends on. Changes nothing, and never shows the agent's certificate:
the gateway would take that for the agent itself.
"""

import glob
import json
import os
import re
import socket
import ssl
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional

from ..effects import now, run
from ..errors import OpenNGTError
from . import agent_steps
from .agent_plan import Wanted
from .disc import where
from .facts import UNIT, other_tools, read_text, vm_uuid

__all__ = ["Asked", "collect", "find_rules", "read_unit", "reach"]

ZIPAPP = "/usr/local/openngt/agent/current/ngt_agent.pyz"
CONFIG = "/usr/local/openngt/config/ngt_config.json"
IDENTITY = "/usr/local/openngt/config/identity.pem"
FILE_SYSTEMS = ("/usr/local", "/run")
REACH_SECONDS = 5.0
JOURNAL_LINES = 20
MOST_LINE = 300
# systemd's name -> ours
PROPERTIES = {
    "LoadState": "load_state",
    "ActiveState": "active_state",
    "SubState": "sub_state",
    "Result": "result",
    "UnitFileState": "unit_file_state",
    "ExecMainStatus": "exit_status",
    "NRestarts": "restarts",
}
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)

Answer = Dict[str, Any]

Asked = NamedTuple(
    "Asked",
    [
        ("gateway_host", Optional[str]),  # where the service says that agents shall go, beside what is configured here
        ("gateway_port", int),
        ("controller_time", Optional[float]),  # seconds since the epoch when the question left
        ("label", str),  # of tools discs
    ],
)


def collect(asked: Asked) -> Answer:
    """The guest's half of a diagnosis (`GuestSaw` in diagnosis/evidence.py); what root alone may read is None."""
    observed = agent_steps.observe(Wanted(False, "", None, False, 0), settle=False)
    unit = _unit()
    config = _config()
    authorities = _authorities()
    return {
        "time": now().replace(microsecond=0).isoformat(),
        "clock_ahead_seconds": None if asked.controller_time is None else round(time.time() - asked.controller_time, 1),
        "is_root": os.geteuid() == 0,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "vm_uuid": vm_uuid(),
        "agent_files": observed.leftovers,
        "installed": os.path.exists(ZIPAPP) and (unit or {}).get("load_state") != "not-found",
        "status": observed.status,
        "unit": unit,
        "journal": _journal(),
        "config": config,
        "gateway": _attempts(config, asked, authorities),
        "firewall": _rules(config, asked),
        "serial_devices": _serial_devices(),
        "other_tools": other_tools(),
        "file_systems": [_room(path) for path in FILE_SYSTEMS],
        "disc": _disc(asked.label),
    }


def reach(host: str, port: int, authorities: Optional[str], service_name: str = "", configured: bool = False) -> Answer:
    """One connection to the gateway: `tcp` and `tls` are None when well, else what failed.

    `tls` is left out where nothing was reached or there is no CA to judge by. A name that does not resolve begins with
    `name: `, a handshake that nobody finished with `no answer: `.
    """
    answer: Answer = {"host": host, "port": port, "configured": configured, "tcp": None}
    try:
        sock = socket.create_connection((host, port), timeout=REACH_SECONDS)
    except socket.gaierror as exc:
        answer["tcp"] = "name: {0}".format(exc.strerror or exc)
    except socket.timeout:
        answer["tcp"] = "no answer within {0:g} s".format(REACH_SECONDS)
    except OSError as exc:
        answer["tcp"] = exc.strerror or str(exc)
    else:
        with sock:
            if authorities:
                answer["tls"] = _distrust(sock, authorities, service_name)
    return answer


def _distrust(sock: socket.socket, authorities: str, service_name: str) -> Optional[str]:
    """What is wrong with who answers, or None for the service of these CAs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=authorities)
        context.wrap_socket(sock, server_hostname=service_name).close()
    except ssl.SSLError as exc:
        if "ALERT" in (exc.reason or ""):
            return None  # our certificate is missed, which TLS 1.2 says at once: theirs has been accepted by then
        return getattr(exc, "verify_message", "") or "no TLS as the service speaks it ({0})".format(exc.reason or exc)
    except ssl.CertificateError as exc:  # Python 3.6: no SSLError
        return str(exc)
    except OSError as exc:
        return "no answer: {0}".format(exc.strerror or exc)
    return None


def read_unit(text: str) -> Optional[Answer]:
    """The answer of `systemctl show`; None when it says nothing. Numbers are numbers."""
    pairs = (line.partition("=") for line in text.splitlines())
    found = {PROPERTIES[name]: value for name, _separator, value in pairs if name in PROPERTIES}
    return {name: int(value) if value.isdigit() else value for name, value in found.items()} or None


def find_rules(ruleset: str, port: int) -> List[str]:
    """Rules of `nft list ruleset` that name the port and let nothing pass."""
    stops = re.compile(r"\b(drop|reject)\b")
    named = re.compile(r"\b{0}\b".format(port))
    lines = [line.strip() for line in ruleset.splitlines()]
    return [line[:MOST_LINE] for line in lines if stops.search(line) and named.search(line)][:5]


def _said(command: List[str]) -> Optional[str]:
    """What a program says in its own language; None where it is missing, fails or hangs."""
    try:
        done = run(command, timeout=20, environment=dict(os.environ, LC_ALL="C"))
    except OpenNGTError:
        return None
    return done.stdout if done.returncode == 0 else None


def _unit() -> Optional[Answer]:
    return read_unit(_said(["systemctl", "show", "--property=" + ",".join(PROPERTIES), UNIT]) or "")


def _journal() -> Optional[List[str]]:
    if os.geteuid() != 0:
        return None
    said = _said(["journalctl", "-q", "-u", UNIT, "-n", str(JOURNAL_LINES), "--no-pager", "-o", "short-iso"])
    return None if said is None else [line[:MOST_LINE] for line in said.splitlines() if not line.startswith("-- ")]


def _config() -> Optional[Answer]:
    try:
        found = json.loads(read_text(CONFIG) or "")
        return {
            "cluster_ip": str(found["cluster_ip"]),
            "port": int(found["port"]),
            "service_name": found["service_name"],
        }
    except (ValueError, KeyError, TypeError):
        return None


def _authorities() -> Optional[str]:
    """The CAs of the agent's identity: all certificates of the file but the first, which is its own. Never the key."""
    return "\n".join(CERTIFICATE.findall(read_text(IDENTITY) or "")[1:]) or None


def _attempts(config: Optional[Answer], asked: Asked, authorities: Optional[str]) -> List[Answer]:
    name = (config or {}).get("service_name", "")
    found = []
    if config is not None:
        found.append(reach(config["cluster_ip"], config["port"], authorities, name, configured=True))
    wanted = (asked.gateway_host, asked.gateway_port)
    if asked.gateway_host and wanted not in [(each["host"], each["port"]) for each in found]:
        found.append(reach(asked.gateway_host, asked.gateway_port, authorities, name))
    return found


def _rules(config: Optional[Answer], asked: Asked) -> Optional[List[str]]:
    ruleset = _said(["nft", "list", "ruleset"]) if os.geteuid() == 0 else None
    return None if ruleset is None else find_rules(ruleset, (config or {}).get("port", asked.gateway_port))


def _serial_devices() -> List[str]:
    """Virtio ports, and second or later UARTs that are more than a name."""
    found = sorted(glob.glob("/dev/virtio-ports/*"))
    for folder in sorted(glob.glob("/sys/class/tty/ttyS[1-9]")):
        if (read_text(os.path.join(folder, "type")) or "0").strip() != "0":
            found.append("/dev/" + os.path.basename(folder))
    return found


def _room(path: str) -> Answer:
    """As root sees it, who may use what a file system holds back from others; the agent is root."""
    room = os.statvfs(path)
    answer: Answer = {"path": path, "free_kib": room.f_bfree * room.f_frsize // 1024}
    if room.f_files:  # some file systems do not count
        answer["free_files"] = room.f_ffree
    return answer


def _disc(label: str) -> Optional[Answer]:
    by_label = os.path.join("/dev/disk/by-label", label)
    if not os.path.exists(by_label):
        return None
    device = os.path.realpath(by_label)
    return {"device": device, "mounted_at": where(device)}
