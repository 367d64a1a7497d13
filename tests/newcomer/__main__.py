# SPDX-License-Identifier: GPL-3.0-or-later
"""`make newcomer`: the README followed literally in an empty Debian; with --guests before real VMs.

The Debian has what the README takes for granted: Python, make and apt, and an environment with ansible-core. Its
network is this machine's, with the way to packages that apt and pip have here. It is a folder, entered by chroot, so
there is no systemd in it. Takes minutes and root.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openngt_service.lab.apt_sources import host_sources
from openngt_service.lab.image import SUITE

from ..docs.examples import ROOT, Example, examples_of
from ..docs.shape import differences

PAGE = ROOT / "README.md"
HAS = ("ca-certificates", "make", "python3", "python3-venv")
HOME = "/root/guest_tools"
# What the host's apt and pip are told about their network.
FROM_HOST = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")

INSTEAD = {
    "make test": ("make venv && build/venv/bin/pytest -q tests/architecture", "takes an hour: one room of it"),
    "make demo": ("make --dry-run demo", "boots VMs: with --guests"),
    "ansible-playbook openngt.guest_tools.install -i inventory": (
        "ansible-playbook openngt.guest_tools.install -i inventory --syntax-check",
        "needs guests: with --guests",
    ),
}
"""Beginning of a command -> what is run in its place, and why."""
RUN_WITH_GUESTS = ("make demo", "ansible-playbook")
# Guests of the lab reach this host here, and are described there.
OF_THE_LAB = {"192.0.2.10": "10.0.2.2"}

ENTER = """\
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount --rbind /dev "$1/dev"
exec chroot "$1" env -i bash /root/follow.sh
"""
FOLLOW = """\
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin {environment}
service=
trap '[ -z "$service" ] || kill $service' EXIT
step() {{ # step NUMBER TITLE: in this shell, so that exports stay
    echo "== $2"
    . "/root/steps/$1.sh" >"/root/steps/$1.out" 2>&1 </dev/null
    local status=$?
    if [ $status != 0 ]; then
        cat "/root/steps/$1.out"
        echo "FAILED with status $status: $2"
        exit 1
    fi
}}
serve() {{ # serve NUMBER TITLE: as in a terminal of its own, until it is ready
    echo "== $2"
    (. "/root/steps/$1.sh") >"/root/steps/$1.out" 2>&1 </dev/null &
    service=$!
    until grep -q 'CA SHA-256' "/root/steps/$1.out"; do
        kill -0 $service || {{ cat "/root/steps/$1.out"; echo "FAILED: $2"; exit 1; }}
        sleep 0.2
    done
}}
mkdir -p {home}
cd {home}
{steps}
"""


@dataclass(frozen=True)
class Step:
    title: str
    text: str
    printed: tuple[str, ...] = ()


def steps(guests: bool) -> Iterator[Step]:
    """What the reader has, then the page's commands in its order."""
    yield Step("(has an environment with ansible-core)", "python3 -m venv ~/ansible")
    yield Step("(has it activated)", ". ~/ansible/bin/activate && pip install --quiet ansible-core")
    for example in examples_of(PAGE):
        if guests and example.text.startswith("ansible-playbook"):
            yield from a_guest()
        yield step_of(example, guests)
    if guests:
        yield Step("(ends the lab)", "openngt lab down --directory vms")


def step_of(example: Example, guests: bool) -> Step:
    assert example.kind == "command" and not example.in_guest, example.where
    for begin, (instead, reason) in INSTEAD.items():
        if example.text.startswith(begin) and not (guests and begin.startswith(RUN_WITH_GUESTS)):
            return Step(f"{example.where} — {instead} ({reason})", instead)
    text = example.text
    for theirs, ours in OF_THE_LAB.items() if guests else ():
        text = text.replace(theirs, ours)
    return Step(example.where, text, tuple(example.printed))


def a_guest() -> Iterator[Step]:
    """The reader has VMs and an inventory of them, and, as Galaxy may be out of reach, no ansible.windows."""
    yield Step("(has a VM)", "openngt lab up --directory vms web1")
    yield Step("(has an inventory of it)", "openngt lab inventory --directory vms > inventory")


# -- The empty Debian -----------------------------------------------------------------------------------------------


def lay_debian(root: Path) -> None:
    sources = root.parent / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    for name, content in host_sources(SUITE).items():
        (sources / name).write_text(content, encoding="utf-8")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(HAS)}", SUITE, str(root)]
    subprocess.run([*command, *map(str, sorted(sources.iterdir()))], check=True)


def lay_tree(folder: Path) -> None:
    """The commit, as one who has cloned it has it."""
    folder.mkdir(parents=True)
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    # Galaxy may be out of reach: what the collection depends on lies in the reader's own folder of collections.
    kept = ROOT / "build/collections/ansible_collections"
    shutil.copytree(kept, folder.parent / ".ansible/collections/ansible_collections")


def write_steps(root: Path, todo: list[Step]) -> None:
    folder = root / "root/steps"
    folder.mkdir()
    lines = []
    for number, one in enumerate(todo):
        (folder / f"{number}.sh").write_text(f"{one.text}\n", encoding="utf-8")
        kind = "serve" if one.text.startswith("openngt serve") else "step"
        lines.append(f"{kind} {number} {shlex.quote(one.title)}")
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in kept.items())
    script = FOLLOW.format(environment=environment, home=HOME, steps="\n".join(lines))
    (root / "root/follow.sh").write_text(script, encoding="utf-8")


def judged(root: Path, todo: list[Step]) -> list[str]:
    """Where the page shows something else than what was printed."""
    wrong = []
    for number, one in enumerate(todo):
        output = (root / f"root/steps/{number}.out").read_text(encoding="utf-8", errors="replace")
        different = differences(one.printed, output.splitlines()) if one.printed else None
        if different is not None:
            wrong.append(f"{one.title}\n{different}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=ROOT / "build/newcomer")
    parser.add_argument(
        "--debian", type=Path, help="a folder with such a Debian, to be copied; made by mmdebstrap without"
    )
    parser.add_argument("--guests", action="store_true", help="boot VMs: `make demo`, and one for the playbook")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make newcomer needs root: it makes a Debian in a folder and enters it")
    root = options.directory.absolute() / "root"
    shutil.rmtree(options.directory, ignore_errors=True)
    sys.stdout.write(f"== Debian {SUITE} with {json.dumps(HAS)}, in {root}\n")
    sys.stdout.flush()
    if options.debian:
        root.parent.mkdir(parents=True)
        subprocess.run(["cp", "-a", str(options.debian), str(root)], check=True)
    else:
        lay_debian(root)
    for name in FROM_HOST:
        if Path(name).exists():
            shutil.copy(name, root / name.lstrip("/"))
    lay_tree(root / HOME.lstrip("/"))
    todo = list(steps(options.guests))
    write_steps(root, todo)
    namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(["unshare", *namespaces, "sh", "-euc", ENTER, "sh", str(root)], check=False)
    wrong = judged(root, todo) if done.returncode == 0 else ["it ended early"]
    if wrong:
        sys.exit("\n".join(wrong))
    shutil.rmtree(options.directory)
    sys.stdout.write(f"The README was followed: {len(todo)} commands\n")


if __name__ == "__main__":
    main()
