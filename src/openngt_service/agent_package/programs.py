# SPDX-License-Identifier: GPL-3.0-or-later
"""Files laid out for the package managers' own programs, and those run without anything of the host that builds."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from openngt.effects import run
from openngt.errors import OpenNGTError

__all__ = ["checked", "lay_out"]

BRINGS = {
    "dpkg-deb": "package dpkg",
    "rpmbuild": "package rpm on Debian and Ubuntu, rpm-build elsewhere",
}
LIMIT_SECONDS = 120.0


def lay_out(folder: Path, files: Mapping[str, bytes], epoch: int, mode: int = 0o644) -> None:
    """Write the files with one date and one mode, folders 0755, whatever the umask."""
    for name, data in files.items():
        path = folder / name
        for parent in reversed(path.relative_to(folder).parents):
            (folder / parent).mkdir(parents=True, exist_ok=True)
            (folder / parent).chmod(0o755)
        path.write_bytes(data)
        path.chmod(mode)
    for place in (folder, *folder.rglob("*")):
        os.utime(place, (epoch, epoch))


def checked(command: Sequence[str], epoch: int, home: Path | None = None) -> None:
    """Run it in a plain environment; `home` keeps a developer's own settings out."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(epoch),
        **({} if home is None else {"HOME": str(home)}),
    }
    try:
        done = run(command, timeout=LIMIT_SECONDS, environment=environment)
    except OpenNGTError as exc:
        if exc.code != "COMMAND_NOT_FOUND":
            raise
        raise OpenNGTError(exc.code, f"{exc.message}; it comes with {BRINGS[command[0]]}") from exc
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise OpenNGTError("COMMAND_FAILED", f"{command[0]} failed: {said}", {"exit_status": done.returncode})
