# SPDX-License-Identifier: GPL-3.0-or-later
# Stands on the tools disc as installer/linux/install_ngt.py. Runs on Python 3.6; parses on Python 2.7, to say so.
"""What a person starts on the mounted tools disc. The work is done by the agent beside it, then the disc is unmounted.

sudo python3 /mnt/installer/linux/install_ngt.py --operation install
"""

import argparse
import os
import subprocess
import sys

__all__ = ["main"]

INSTALLED = "/usr/local/openngt/agent/current/ngt_agent.pyz"
ON_DISC = "agent/ngt_agent.pyz"


def main():  # type: () -> int
    """Exit status of the agent's command, or 1."""
    options = parser().parse_args()
    disc = find_disc(os.path.realpath(__file__))
    # The working directory may be the disc, which could not be unmounted then.
    os.chdir("/")
    status = subprocess.call(command(options, disc))  # pylint: disable=ansible-bad-function
    if status == 0 and disc is not None and os.path.ismount(disc):
        status = unmount(disc)
    return status


def parser():  # type: () -> argparse.ArgumentParser
    found = argparse.ArgumentParser(description="Install or uninstall the guest agent of openngt.")
    found.add_argument("--operation", choices=("install", "uninstall"), default="install")
    found.add_argument("--ca-sha256", metavar="HEX", help="fingerprint of the CA, from: openngt ca show")
    found.add_argument("--wait", default="60", metavar="SECONDS", help="for the link; 0: do not wait")
    found.add_argument("--allow-unsupported-distribution", action="store_true")
    return found


def find_disc(script):  # type: (str) -> str | None
    """Folder of the disc that the script stands on: the nearest one above it that has a manifest."""
    folder = os.path.dirname(script)
    while folder != os.path.dirname(folder):
        if os.path.exists(os.path.join(folder, "manifest.json")):
            return folder
        folder = os.path.dirname(folder)
    return None


def command(options, disc):  # type: (argparse.Namespace, str | None) -> list[str]
    """The agent's own command for what was asked."""
    agent = INSTALLED if disc is None else os.path.join(disc, ON_DISC)
    if options.operation == "uninstall":
        return [sys.executable, agent, "uninstall"]
    if disc is None:
        raise SystemExit("DISC_NOT_FOUND: this script installs from the tools disc that it stands on")
    found = [sys.executable, agent, "install", "--source", disc, "--wait", options.wait]
    if options.ca_sha256:
        found += ["--ca-sha256", options.ca_sha256]
    if options.allow_unsupported_distribution:
        found.append("--allow-unsupported-distribution")
    return found


def unmount(disc):  # type: (str) -> int
    status = subprocess.call(["umount", disc])  # pylint: disable=ansible-bad-function
    if status == 0:
        sys.stdout.write("Unmounted {0}; the disc can be ejected.\n".format(disc))
        return 0
    # The usual reason is the shell that this was started from.
    sys.stdout.write(
        "The agent is well, but {0} is in use and still mounted. Leave the folder, then: umount {0}\n".format(disc)
    )
    return 1


if __name__ == "__main__":
    if sys.version_info < (3, 6):
        raise SystemExit("This installer needs Python 3.6 or newer: sudo python3 " + os.path.abspath(__file__))
    raise SystemExit(main())
