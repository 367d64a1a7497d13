# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's files: this host's, below a layer that makes a Debian guest of them, below the guest's own disk.

Nothing of the host that an installation would meet shows through: /etc/systemd, /usr/local, /run, /tmp and homes are
the guest's, and so are accounts, sudoers and the firmware's UUID.
"""

import os
import shutil
import stat
from pathlib import Path

from .linux import MS_PRIVATE, MS_REC, mount
from .spec import ADMIN, PORT, Spec

__all__ = ["ISO_MOUNTER", "build_base", "furnish", "mount_root", "once"]

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
ISO_MOUNTER = "mount-iso"
ORIGINALS = "usr/lib/simulated/originals"
"""Copies of the programs that a test may put another in the place of."""
# Something goes wrong when the program is started for the first time, and never again.
ONCE = """\
#!/bin/sh
[ -e /var/lib/simulated-{name} ] || {{ mkdir /var/lib/simulated-{name}; {what}; }}
exec /{originals}/{name} "$@"
"""

# A request to PID 1 over its FIFO. The answer comes over one of our own: exit status, lines for standard output, those
# for standard error behind a "!", and a dot.
ASK = """\
#!/bin/sh
answer=/run/init/$$
mkfifo -m 600 "$answer" 2>/dev/null || {{ echo "Access denied" >&2; exit 1; }}
exec 3<>"$answer"
echo "$$ {verb} $*" >/run/init/requests
read -r status <&3
while IFS= read -r line <&3 && [ "$line" != . ]; do
    case $line in
    !*) printf '%s\\n' "${{line#!}}" >&2 ;;
    *) printf '%s\\n' "$line" ;;
    esac
done
rm -f "$answer"
exit "$status"
"""
MOUNT = """\
#!/bin/sh
case " $* " in
*" iso9660 "*) exec /usr/bin/mount-iso "$@" ;;
esac
exec /usr/lib/simulated/originals/mount "$@"
"""
JOURNALCTL = """\
#!/bin/sh
for unit; do :; done
exec tail -n 20 "/run/log/$unit"
"""
SSHD_CONFIG = f"""\
Port {PORT}
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
UseDNS no
PermitRootLogin yes
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""
PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
{ADMIN}:x:1000:1000::/home/{ADMIN}:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = f"root:x:0:\ndaemon:x:1:\ntty:x:5:\nshadow:x:42:\n{ADMIN}:x:1000:\nnogroup:x:65534:\n"
PAM_SUDO = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
OWN_FOLDERS = {
    "etc/pam.d": 0o755,
    "etc/ssh": 0o755,
    "etc/sudoers.d": 0o750,
    "etc/systemd": 0o755,
    "home": 0o755,
    "media": 0o755,
    "mnt": 0o755,
    "root": 0o700,
    "run": 0o755,
    "tmp": 0o1777,
    "usr/local": 0o755,
    "var/tmp": 0o1777,
}
"""Nothing of the host's is seen in them."""


def once(name: str, what: str) -> dict[str, str]:
    """For Spec.files: do `what` in place of the first start of `mount-iso`, `python3`, `sudo` or `umount`."""
    return {f"/usr/bin/{name}": ONCE.format(name=name, what=what, originals=ORIGINALS)}


def build_base(base: Path) -> None:
    """The layer that all guests share, in an empty folder on a file system with devices and `trusted.` attributes."""
    for name, mode in OWN_FOLDERS.items():
        _folder(base / name, mode)
        os.setxattr(base / name, "trusted.overlay.opaque", b"y")
    for name in ("etc/systemd/system/multi-user.target.wants", "usr/local/bin", "usr/local/lib", "dev/pts", "dev/shm"):
        _folder(base / name)
    _folder(base / f"home/{ADMIN}", 0o700, owner=1000)
    for name, (major, minor) in DEVICES.items():
        os.mknod(base / "dev" / name, stat.S_IFCHR, os.makedev(major, minor))
        (base / "dev" / name).chmod(0o666)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("ptmx", "pts/ptmx")):
        (base / "dev" / name).symlink_to(target)
    for name, text in (
        ("etc/os-release", OS_RELEASE),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/pam.d/sudo", PAM_SUDO),
        ("etc/ssh/sshd_config", SSHD_CONFIG),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ("etc/environment", ""),
    ):
        _file(base / name, text)
    for name, text in (
        ("usr/bin/systemctl", ASK.format(verb="systemctl")),
        (f"usr/bin/{ISO_MOUNTER}", ASK.format(verb=ISO_MOUNTER)),
        ("usr/bin/mount", MOUNT),
        ("usr/bin/journalctl", JOURNALCTL),
    ):
        _file(base / name, text, 0o755)
    _folder(base / ORIGINALS)
    for name in ("mount", "python3", "sudo", "umount"):
        shutil.copy2(f"/usr/bin/{name}", base / ORIGINALS / name)
    (base / ORIGINALS / "sudo").chmod(0o4755)
    shutil.copy2(base / "usr/bin" / ISO_MOUNTER, base / ORIGINALS / ISO_MOUNTER)


def furnish(disk: Path, spec: Spec) -> None:
    """What is this guest's alone, on its new disk."""
    upper = disk / "upper"
    for folder in (upper, disk / "work", disk / "root"):
        _folder(folder)
    rights = {"passwordless": "NOPASSWD: ALL", "asks": "ALL"}.get(spec.sudo)
    hashes = "".join(f"{user}:{spec.password_hash}:19000:0:99999:7:::\n" for user in ("root", ADMIN))
    for name, text, mode in (
        ("etc/shadow", hashes, 0o640),
        ("etc/sudoers", "root ALL=(ALL) ALL\n" + (f"{ADMIN} ALL=(ALL) {rights}\n" if rights else ""), 0o440),
        ("etc/hostname", f"{spec.name}\n", 0o644),
        ("etc/hosts", f"127.0.0.1 localhost\n{spec.address} {spec.name}\n", 0o644),
        ("etc/ssh/host_key", spec.host_key, 0o600),
        ("sys/class/dmi/id/product_uuid", f"{spec.vm_uuid}\n", 0o400),
    ):
        _file(upper / name, text, mode)
    (upper / "tmp").mkdir()
    (upper / "tmp").chmod(0o1777)
    for home, owner in (("root", 0), (f"home/{ADMIN}", 1000)):
        _folder(upper / home, 0o700, owner=owner)
        _folder(upper / home / ".ssh", 0o700, owner=owner)
        _file(upper / home / ".ssh/authorized_keys", spec.authorized_key + "\n", 0o600, owner=owner)
    for name, text in spec.files.items():
        _file(upper / name.lstrip("/"), text, 0o755)


def mount_root(base: Path, disk: Path, drives: int) -> Path:
    """The guest's root folder, mounted; in a mount namespace of its own."""
    root = disk / "root"
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    layers = f"lowerdir={base}:/,upperdir={disk}/upper,workdir={disk}/work"
    mount("overlay", str(root), "overlay", 0, layers)
    mount("proc", str(root / "proc"), "proc")
    mount("devpts", str(root / "dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", str(root / "run"), "tmpfs", 0, "mode=0755")
    for number in range(drives):
        _folder(root / f"sys/block/sr{number}")
        (root / f"dev/sr{number}").touch(0o660)
    return root


def _folder(path: Path, mode: int = 0o755, owner: int = 0) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    os.chown(path, owner, owner)


def _file(path: Path, text: str, mode: int = 0o644, owner: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, owner)
