# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent as a Debian package, put together by `dpkg-deb`."""

import hashlib
from pathlib import Path

from .contents import AGENT, CONFFILE, HOMEPAGE, MAINTAINER, NAME, SUMMARY, Contents, script
from .programs import checked, lay_out

__all__ = ["build_deb", "deb_name"]

# tar, which the agent's installer wants, is essential in Debian and therefore not named.
CONTROL = """\
Package: {name}
Version: {version}-{revision}
Section: admin
Priority: optional
Architecture: all
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: python3 (>= 3.6), systemd
Recommends: openssl
Homepage: {homepage}
Description: {summary}
 Keeps a link to the Guest Tools Service: certificates, power, upgrades.
 .
 For images and templates: it has no identity and takes one from the tools
 disc that the service mounts in each VM that is made from them.
"""

POSTINST = script(
    """\
case "$1" in
configure) agent install ;;
esac
"""
)

PRERM = script(
    """\
case "$1" in
remove) agent remove ;;
esac
"""
)

# The agent is gone by now. Where one is there all the same, somebody has installed it from a disc since: not ours.
POSTRM = """\
#!/bin/sh
set -e
case "$1" in
purge)
    if [ ! -e /usr/local/openngt/agent ]; then
        rm -rf /usr/local/openngt/config
        rmdir /usr/local/openngt 2>/dev/null || :
    fi
    ;;
esac
"""


def deb_name(found: Contents) -> str:
    return f"{NAME}_{found.version}-{found.revision}_all.deb"


def build_deb(found: Contents, work: Path) -> Path:
    """Below `work`, an empty folder. COMMAND_NOT_FOUND, COMMAND_FAILED."""
    tree, package = work / "tree", work / deb_name(found)
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path}\n" for path, data in sorted(found.files.items()))  # noqa: S324 - dpkg --verify reads it
    control = CONTROL.format(
        name=NAME,
        version=found.version,
        revision=found.revision,
        maintainer=MAINTAINER,
        kilobytes=-(-len(found.files[AGENT]) // 1024),
        homepage=HOMEPAGE,
        summary=SUMMARY,
    )
    files = dict(found.files)
    for name, text in (("control", control), ("conffiles", f"/{CONFFILE}\n"), ("md5sums", sums)):
        files[f"DEBIAN/{name}"] = text.encode()
    lay_out(tree, files, found.epoch)
    scripts = {f"DEBIAN/{name}": text.encode() for name, text in SCRIPTS.items()}
    lay_out(tree, scripts, found.epoch, mode=0o755)
    # gzip, because the dpkg of every distribution reads it; zstd, Ubuntu's choice, Debian's older ones do not.
    checked(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(package)], found.epoch)
    return package


SCRIPTS = {"postinst": POSTINST, "prerm": PRERM, "postrm": POSTRM}
