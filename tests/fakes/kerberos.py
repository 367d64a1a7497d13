# SPDX-License-Identifier: GPL-3.0-or-later
"""A realm of Kerberos for a test: MIT's own KDC on a loopback port, with the users and services that the test names."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from openngt_service.lab.process import free_port

from .waiting import until

__all__ = ["MISSING", "REALM", "Realm"]

REALM = "CORP.EXAMPLE"
SERVICE = "HTTP/127.0.0.1"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
MISSING = [
    name for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "kvno") if not shutil.which(name, path=PATH)
]
"""Programs that are not installed (`make system-packages`)."""

CLIENT = """
[libdefaults]
  default_realm = {realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  rdns = false
  dns_canonicalize_hostname = false
  udp_preference_limit = 1
  kdc_timesync = {timesync}
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
  SILENT.EXAMPLE = {{
    kdc = 127.0.0.1:{silent}
  }}
[domain_realm]
  127.0.0.1 = {realm}
  localhost = {realm}
"""
KDC = """
[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {realm} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/none
  }}
[logging]
  kdc = FILE:{folder}/log
"""


class Realm:
    """`with Realm(folder, {"op": "secret"}) as realm:` with `realm.environment` set, this process is a member of it.

    HTTP on 127.0.0.1 is its one service, whose key is in the keytab. SILENT.EXAMPLE is a realm whose KDC is down.
    """

    def __init__(self, folder: Path, users: Mapping[str, str], *, timesync: bool = True) -> None:
        self.folder = folder
        folder.mkdir()
        self._port = free_port()
        names = {"realm": REALM, "port": self._port, "silent": free_port(), "folder": folder}
        (folder / "kdc.conf").write_text(KDC.format(**names))
        (folder / "krb5.conf").write_text(CLIENT.format(**names, timesync=int(timesync)))
        self.environment = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5_KTNAME": str(folder / "keytab"),
            "KRB5CCNAME": f"FILE:{folder}/own",
            "KRB5RCACHETYPE": "none",
        }
        self._do("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        for user, password in users.items():
            # As a domain of Windows has it: who asks for a ticket proves first that it knows the password.
            self._manage(f"addprinc +requires_preauth -pw {password} {user}")
        self._manage(f"addprinc -randkey {SERVICE}")
        self._manage(f"ktadd -k {folder}/keytab {SERVICE}")

    def __enter__(self) -> Self:
        program = shutil.which("krb5kdc", path=PATH) or "krb5kdc"
        self._kdc = subprocess.Popen([program, "-n", "-r", REALM], env=self._environment)
        until(lambda: "commencing operation" in self._log(), "the KDC")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kdc.terminate()
        self._kdc.wait()

    def get_ticket(self, user: str, password: str, *options: str) -> None:
        """Into the process' own cache, as a person does it."""
        self._do("kinit", *options, f"{user}@{REALM}", stdin=password)

    def get_service_ticket(self) -> None:
        self._do("kvno", SERVICE)

    def modify(self, user: str, *options: str) -> None:
        """As kadmin has it: `-allow_tix`, `-pwexpire`."""
        self._manage(f"modprinc {' '.join(options)} {user}")

    def asked(self, user: str) -> int:
        """How often somebody has tried a password of the user, right or wrong."""
        return len(re.findall(rf"AS_REQ .*(?:ISSUE|PREAUTH_FAILED):.* {user}@{REALM} for", self._log()))

    def _log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "LC_ALL": "C"}

    def _manage(self, request: str) -> None:
        self._do("kadmin.local", "-r", REALM, "-q", request)

    def _do(self, program: str, *arguments: str, stdin: str = "") -> None:
        path = shutil.which(program, path=PATH) or program
        done = subprocess.run(
            [path, *arguments], env=self._environment, input=stdin + "\n", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
