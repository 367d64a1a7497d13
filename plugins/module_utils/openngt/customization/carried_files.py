# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that travel on the disc beside the user-data, and the command by which the guest copies them.

Files usually stand in the user-data, in `write_files`. User-data is limited, though, and base64 makes a file a third
larger. What does not fit lies on the disc as it is, and a `bootcmd` copies it. Other ways were looked at: `source` of
write_files is younger than most images' cloud-init; a config drive's own `files` come as 0660 of root; a boothook's
failure is not among cloud-init's errors, a bootcmd's is; a runcmd comes after the scripts that may want the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from .model import GuestFile

__all__ = ["copy_config"]

COPY = r"""former=$?
cloud-init-per instance openngt_files sh -e -s <<'OPENNGT' || former=1
disc=/dev/disk/by-label/@LABEL@
[ -e "$disc" ] || disc=$(blkid -t LABEL=@LABEL@ -o device | head -n 1)
folder=$(mktemp -d /run/openngt-files.XXXXXX)
trap 'umount "$folder" 2>/dev/null || :; rmdir "$folder"' EXIT
mount -t iso9660 -o ro "$disc" "$folder"
copy() {
  [ ! -d "$3" ] || { echo "$3 is a folder" >&2; exit 1; }
  mkdir -p "${3%/*}/"
  new=$(mktemp "${3%/*}/.openngt.XXXXXX")
  cat "$folder/$1" >"$new" || { rm -f "$new"; exit 1; }
  chmod "$2" "$new"
  mv -f "$new" "$3"
  if command -v restorecon >/dev/null; then restorecon "$3" || :; fi
}
@COPIES@
OPENNGT
(exit $former)
"""
"""Once for each instance, as the disc is gone at the next boot. A failure of the commands before it is kept."""


def copy_config(files: Mapping[str, GuestFile], label: str) -> dict[str, Any]:
    """The part of a cloud-config that copies `files` (by their path on the disc with this label) into the guest.

    They come as root's, before any other module of cloud-init but `bootcmd` runs. Another owner is given late, when
    packages and users have come: by an entry of `write_files` that appends nothing.
    """
    copies = [f"copy {shlex.quote(at)} {file.mode} {shlex.quote(file.path)}" for at, file in files.items()]
    script = COPY.replace("@LABEL@", label).replace("@COPIES@", "\n".join(copies))
    config: dict[str, Any] = {"bootcmd": [script]}
    owned = [file for file in files.values() if file.owner not in ("root", "root:root", "0", "0:0")]
    if owned:
        config["write_files"] = [_given_to_its_owner(file) for file in owned]
    return config


def _given_to_its_owner(file: GuestFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "content": "",
        "append": True,
        "permissions": file.mode.zfill(4),
        "owner": file.owner,
        "defer": True,
    }
