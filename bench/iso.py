# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's ISO from a template, beside programs that author the same files anew and beside a plain copy of the file.

Ours is `prepare` and `write_iso`; the certificate is signed before, `bench.issue` measures that. All run in turns on
the same file system with the source in the page cache; of each the fastest run counts: what else the machine does can
only add to it. Alone: python -m bench iso
"""

import contextlib
import datetime
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench._rows import Row, not_measured, row
from openngt.effects import now
from openngt.iso.layout import CLIENT, SLOTS
from openngt.iso.payload import PayloadFile, tools_payload
from openngt.iso.template import Template, ensure_template, padded
from openngt.iso.tools_iso import Cluster, Unsigned, Vm, prepare, write_iso
from openngt.iso.volume import author
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

PAYLOADS_MB = (160, 632)
TURNS = 5
FAST_MS, REPEAT_FAST = 20, 5
PEERS = ("pycdlib", "xorriso", "genisoimage")
DISK_MB = 6000
VM, NGT = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
CLUSTER = "c1a57e12-0000-4000-8000-00000000c1a5"


@dataclass(frozen=True)
class Place:
    """A folder, and what its file system can do."""

    folder: Path
    reflink: bool

    @property
    def name(self) -> str:
        return "reflink" if self.reflink else "no reflink"


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(dir=work_folder(), prefix="bench-iso-") as work:
        folder = Path(work)
        (folder / "plain").mkdir()
        result = measured(Place(folder / "plain", reflink=False))
        with reflink_disk(folder) as disk:
            if isinstance(disk, Path):
                result += measured(Place(disk, reflink=True))
            else:
                result.append(not_measured("per-VM ISO, reflink", disk, unit="ms", goal="at most 1 ms"))
    return result


def work_folder() -> Path:
    """On a disk, not in memory: /tmp often is a tmpfs."""
    folder = Path(__file__).resolve().parents[1] / "build"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def reflink_disk(folder: Path) -> Iterator[Path | str]:
    """A new xfs in a file, mounted by loop; or why there is none. It shares blocks whatever / can do."""
    image, point = folder / "xfs.img", folder / "reflink"
    point.mkdir()
    with image.open("wb") as stream:
        stream.truncate(DISK_MB << 20)
    for command in (["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], ["mount", "-o", "loop", str(image), str(point)]):
        if shutil.which(command[0]) is None:
            yield f"{command[0]} is not installed"
            return
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            yield f"{command[0]}: {done.stderr.strip()}"
            return
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def measured(place: Place) -> list[Row]:
    authority = create_authority(place.folder / "ca", common_name="bench", now=now())
    result = []
    for megabytes in PAYLOADS_MB:
        extras = place.folder / f"extras-{megabytes}"
        extras.mkdir()
        write_payload(extras / "payload.bin", megabytes)
        result += measured_with(place, authority, extras, megabytes)
        shutil.rmtree(extras)
    return result


def write_payload(path: Path, megabytes: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as stream:
        for number in range(megabytes):
            stream.write(number.to_bytes(8, "big") + block[8:])


def measured_with(place: Place, authority: Authority, extras: Path, megabytes: int) -> list[Row]:
    payload = tools_payload(extras)
    template = ensure_template(place.folder / "templates", payload)
    unsigned, client_pem = signed(template, authority)
    target = place.folder / "vm.iso"

    def ours(*, fsync: bool) -> None:
        write_iso(template, own_content(template, authority), client_pem, target, fsync=fsync)

    def copy(*, fsync: bool) -> None:
        shutil.copyfile(template.path, target)
        if fsync:
            with target.open("rb") as stream:
                os.fsync(stream.fileno())

    candidates: dict[str, Callable[[], None]] = {
        "ours": lambda: ours(fsync=False),
        "ours, fsync": lambda: ours(fsync=True),
        "plain copy": lambda: copy(fsync=False),
        "plain copy, fsync": lambda: copy(fsync=True),
        **authoring(place.folder, payload, {**unsigned.slots, CLIENT: client_pem}, target),
    }
    least = in_turns(candidates, target)
    shutil.rmtree(place.folder / "templates")
    return judged(place, f"per-VM ISO, {megabytes} MB payload, {place.name}", least)


def own_content(template: Template, authority: Authority) -> Unsigned:
    time_of_making = now()
    return prepare(
        template,
        Vm(VM, "web-1", NGT),
        Cluster(CLUSTER, "192.0.2.10", authority.certificate_pem),
        generation=1,
        created=time_of_making,
        expires=time_of_making + datetime.timedelta(days=1),
    )


def signed(template: Template, authority: Authority) -> tuple[Unsigned, bytes]:
    unsigned = own_content(template, authority)
    request = VmCertificateRequest(VM, NGT, 1, "bootstrap", manifest_sha256=unsigned.manifest_sha256)
    return unsigned, issue_vm_certificate(authority, request, now=now()).client_pem


def authoring(
    folder: Path, payload: tuple[PayloadFile, ...], slots: Mapping[str, bytes], target: Path
) -> dict[str, Callable[[], None]]:
    """The peers: each writes the same files into a new volume with Joliet and Rock Ridge."""
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    content = {path: padded(path, slots[path]) for path in SLOTS}
    files: dict[str, bytes | Path] = {**{file.entry.path: file.content for file in payload}, **content}
    for path, source in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            (tree / path).hardlink_to(source)
        else:
            (tree / path).write_bytes(source)

    def with_pycdlib() -> None:
        with target.open("w+b") as stream:
            author(stream, files)

    def program(*command: str) -> Callable[[], None]:
        options = ["-quiet", "-J", "-r", "-V", "NUTANIX_TOOLS", "-o", str(target), str(tree)]

        def run() -> None:
            subprocess.run([*command, *options], check=True, capture_output=True)

        return run

    peers = {"pycdlib": with_pycdlib}
    if shutil.which("xorriso"):
        peers["xorriso"] = program("xorriso", "-as", "mkisofs")
    if shutil.which("genisoimage"):
        peers["genisoimage"] = program("genisoimage")
    return peers


def in_turns(candidates: Mapping[str, Callable[[], None]], target: Path) -> dict[str, float]:
    """Least milliseconds of each. Nothing that another left dirty is written back inside a measurement."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(TURNS):
        for name, run in candidates.items():
            fast = bool(samples[name]) and samples[name][0] < FAST_MS
            for _ in range(REPEAT_FAST if fast else 1):
                target.unlink(missing_ok=True)
                os.sync()
                begin = time.perf_counter()
                run()
                samples[name].append(1000 * (time.perf_counter() - begin))
    target.unlink()
    return {name: min(values) for name, values in samples.items()}


def judged(place: Place, name: str, least: Mapping[str, float]) -> list[Row]:
    factor = 100 if place.reflink else 5
    result = []
    for durable in ("", ", fsync"):
        value, copy = least["ours" + durable], least["plain copy" + durable]
        if place.reflink:
            goal, met = ("at most 1 ms", value <= 1) if not durable else ("given beside it", True)
        else:
            goal, met = "at most 1.15 x", value <= 1.15 * copy
        peer = "plain copy" + durable
        result.append(row(name + durable, value, "ms", goal=goal, met=met, peer=peer, peer_value=copy))
    for peer in PEERS:
        value, peer_value = least["ours"], least.get(peer)
        met = peer_value is not None and value * factor <= peer_value
        known = peer if peer_value is not None else f"{peer}: not installed"
        goal = f"at least {factor} x faster"
        result.append(row(name, value, "ms", goal=goal, met=met, peer=known, peer_value=peer_value))
    return result
