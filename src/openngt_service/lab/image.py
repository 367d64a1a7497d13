# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's guest: a Debian disk, its kernel and its initial RAM disk, built once from Debian's packages.

The result is cached by the digest of everything it is made from, and published by one rename: a folder under its final
name is complete, whatever happened to the process that made it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from .apt_sources import host_sources
from .process import run_logged

__all__ = ["Image", "Recipe", "Report", "default_cache", "ensure_image", "recipe"]

Report = Callable[[str], None]
"""Takes one line of progress for a person."""

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates",
    "cloud-init",
    "dbus",
    "iproute2",
    "kmod",
    "libnss-myhostname",
    "linux-image-cloud-amd64",
    "nftables",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tar",
    "udev",
)
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
DISK_MB = 3072

# Inside the tree, because in a user namespace nothing else can be written by the tree's owner. An ordinary user's PATH
# lacks the folder of mke2fs. No part of the recipe: this is how the disk is written, not what is on it.
MAKE_DISK = """\
set -eu
cd "$1"
mkdir .root
find . -mindepth 1 -maxdepth 1 ! -name .root -exec mv -t .root {} +
truncate -s "$2" disk.raw
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -L lab -d .root disk.raw
chmod 0644 disk.raw
"""


@dataclass(frozen=True)
class Recipe:
    suite: str
    packages: tuple[str, ...]
    left_out: tuple[str, ...]
    disk_mb: int
    provision: str
    sources: dict[str, str]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Image:
    folder: Path

    @property
    def disk(self) -> Path:
        """Raw ext4 without a partition table; only ever read, as the backing file of overlays."""
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "openngt"


def recipe() -> Recipe:
    provision = files(__package__).joinpath("provision.sh").read_text(encoding="utf-8")
    return Recipe(SUITE, PACKAGES, LEFT_OUT, DISK_MB, provision, host_sources(SUITE))


def ensure_image(report: Report, cache: Path | None = None) -> Image:
    """The image from the cache, built first where it is missing or its recipe changed (a minute or two).

    Works as root, or as a user who may make user namespaces. A second process waits for the first one's result.
    COMMAND_FAILED names the log when a step fails.
    """
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    wanted = recipe()
    image = Image(cache / f"image-{wanted.digest}")
    with _only_one(cache / "image.lock", report):
        if not image.folder.exists():
            _build(wanted, image, cache, report)
    return image


@contextlib.contextmanager
def _only_one(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process builds the guest image: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(wanted: Recipe, image: Image, cache: Path, report: Report) -> None:
    work = cache / "image.unfinished"
    log = cache / "image.log"
    log.write_text("", encoding="utf-8")
    _remove(work, log)  # of a build that was killed
    work.mkdir(mode=0o700)
    report(f"building the Debian guest image (log: {log})")
    tree = _bootstrap(wanted, work, log, report)
    result = work / "result"
    result.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        shutil.copyfile(tree / name, result / name)  # links at the root of the tree, to the kernel that was installed
    report("writing the file system")
    run_logged([*_as_owner(), "sh", "-c", MAKE_DISK, "make-disk", str(tree), str(wanted.disk_mb << 20)], log)
    run_logged(["cp", "--sparse=always", str(tree / "disk.raw"), str(result / "disk.raw")], log)
    _sync(result)
    result.rename(image.folder)
    _remove(work, log)
    report(f"the guest image is ready: {image.folder}")


def _bootstrap(wanted: Recipe, work: Path, log: Path, report: Report) -> Path:
    provision = work / "provision.sh"
    provision.write_text(wanted.provision, encoding="utf-8")
    sources = []
    for name, content in wanted.sources.items():
        (work / name).write_text(content, encoding="utf-8")
        sources.append(str(work / name))
    work.chmod(0o755)  # in a user namespace another user id reads the hook
    tree = work / "tree"
    command = ["mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(wanted.packages)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in wanted.left_out]
    command += [f'--customize-hook=sh "{provision}" "$1"', wanted.suite, str(tree), *sources]
    run_logged(command, log, each_line=lambda line: report(line[3:]) if line.startswith("I: ") else None)
    return tree


def _as_owner() -> list[str]:
    """Prefix for programs that must see the tree's own user ids: without root they live in a user namespace."""
    return [] if os.geteuid() == 0 else ["mmdebstrap", "--unshare-helper"]


def _remove(work: Path, log: Path) -> None:
    tree = work / "tree"
    if tree.exists():
        run_logged([*_as_owner(), "find", str(tree), "-xdev", "-mindepth", "1", "-delete"], log)
    if work.exists():
        shutil.rmtree(work)


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
