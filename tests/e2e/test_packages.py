# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's packages, installed, upgraded and removed by dpkg and rpm: in an image's tree, and in a running guest."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openngt.client import Client
from openngt.effects import run
from openngt.version import __version__
from openngt_service.agent_package import contents
from openngt_service.agent_package.build import build_packages
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import ServiceProcess

from ..fakes.agent_releases import release
from .conftest import Guests, WarmVm
from .hands import HOLDER, LIMIT_SECONDS, drives, isos, said, until
from .image_root import ImageRoot, image_root
from .systemd_host import require_containers

pytestmark = pytest.mark.guest

NEXT = "0.1.9"
UNIT = "ngt_guest_agent.service"
# The image leaves documents out, and dpkg misses them.
VERIFY = "dpkg --verify openngt-agent | grep -v /usr/share/doc || true"
CURRENT = "readlink /usr/local/openngt/agent/current"
# What the package managers write for themselves, and what the commands of a test leave.
OWN_BOOKS = r"-path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /mnt -o -path /root"
OWN_BOOKS += (
    r" -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /var/lib/rpm -o -path /var/lib/systemd"
)
LIST = f"find / \\( {OWN_BOOKS} \\) -prune -o \\( -newer /etc/hostname -o ! -newer /etc/hostname \\) -print | sort"


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on, packages are of a later release made from this tree."""

    def begin() -> None:
        monkeypatch.setattr(contents, "build_zipapp", lambda: release(NEXT))
        monkeypatch.setattr(contents, "__version__", NEXT)

    return begin


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ImageRoot]:
    image = ensure_image(lambda line: None)
    require_containers(image, tmp_path)
    with image_root(image, tmp_path) as root:
        yield root


def built(root: ImageRoot, form: str, **how: Any) -> str:
    [package] = build_packages(root.packages, [form], **how)
    return str(package["path"]).rpartition("/")[2]


def install_rpm(root: ImageRoot, name: str) -> str:
    """The image is Debian's: what a package wants is there, and no RPM database that knows it."""
    command = ["rpm", "--root", str(root.folder / "root"), "--dbpath", "/var/lib/rpm", "--nodeps", "-U", "--oldpackage"]
    done = root.beside([*command, str(root.packages / name)])
    assert done.returncode == 0 and "scriptlet failed" not in done.stderr, done
    return done.stdout + done.stderr


def rpm(root: ImageRoot, *words: str) -> str:
    command = ["rpm", "--root", str(root.folder / "root"), "--dbpath", "/var/lib/rpm", *words]
    done = root.beside(command)
    assert done.returncode == 0 and "failed" not in done.stderr, done
    return done.stdout + done.stderr


def in_place(root: ImageRoot, version: str) -> None:
    assert root.say(CURRENT) == version
    assert root.say(f"systemctl is-enabled {UNIT}") == "enabled"
    assert root.say("ngtcli --version") == version
    assert root.say("stat -c %a /usr/local/openngt/config") == "700"
    status = json.loads(root.say("ngtcli status --output json").splitlines()[-1])
    assert status["identity"] is None


def test_dpkg_installs_upgrades_removes_and_purges(tree: ImageRoot, next_release: Callable[[], None]) -> None:
    before = tree.say(LIST)
    first, again = built(tree, "deb"), built(tree, "deb", revision=2)
    tree.say(f"dpkg -i /mnt/{first}")
    in_place(tree, __version__)
    assert tree.say(VERIFY) == "" and "/usr/local" not in tree.say("dpkg -L openngt-agent")
    tree.say(f"dpkg -i /mnt/{again}")
    in_place(tree, __version__)
    next_release()
    newer = built(tree, "deb")
    tree.say(f"dpkg -i /mnt/{newer}")
    in_place(tree, NEXT)
    back = tree.say(f"dpkg -i --force-downgrade /mnt/{again}")
    assert f"agent {NEXT}, which is newer, stays" in back
    in_place(tree, NEXT)
    assert tree.say(VERIFY) == "", "what serves is none of the package's files"

    tree.say("cd /usr/local/openngt/config && echo secret > identity.pem && echo guest.reboot > blocked_methods")
    tree.say("dpkg --remove openngt-agent")
    kept = set(tree.say(LIST).splitlines()) - set(before.splitlines())
    config = {f"/usr/local/openngt/config{name}" for name in ("", "/identity.pem", "/blocked_methods")}
    assert kept == {"/usr/local/openngt", *config, "/etc/openngt", "/etc/openngt/agent_first_disc"}
    tree.say(f"dpkg -i /mnt/{newer}")
    assert tree.say("cat /usr/local/openngt/config/blocked_methods") == "guest.reboot"
    tree.say("dpkg --purge openngt-agent")
    assert tree.say(LIST) == before


def test_what_a_disc_has_installed_after_a_removal_is_not_purged(tree: ImageRoot) -> None:
    tree.say(f"dpkg -i /mnt/{built(tree, 'deb')} && dpkg --remove openngt-agent")
    tree.say("mkdir -p /usr/local/openngt/agent && echo secret > /usr/local/openngt/config/identity.pem")
    tree.say("dpkg --purge openngt-agent")
    assert tree.say("cat /usr/local/openngt/config/identity.pem") == "secret"


def test_rpm_installs_upgrades_and_erases(tree: ImageRoot, next_release: Callable[[], None]) -> None:
    before = tree.say(LIST)
    first = built(tree, "rpm")
    install_rpm(tree, first)
    in_place(tree, __version__)
    tree.say("echo '# of the template' >> /etc/openngt/agent_first_disc")
    next_release()
    newer = built(tree, "rpm")
    install_rpm(tree, newer)
    in_place(tree, NEXT)
    assert rpm(tree, "--query", "openngt-agent").strip() == f"openngt-agent-{NEXT}-1.noarch"
    assert "of the template" in tree.say("cat /etc/openngt/agent_first_disc"), "a file of the administrator's"
    assert f"agent {NEXT}, which is newer, stays" in install_rpm(tree, first)
    in_place(tree, NEXT)
    changed = tree.beside(
        ["rpm", "--root", str(tree.folder / "root"), "--dbpath", "/var/lib/rpm", "-V", "--nodeps", "openngt-agent"]
    )
    assert [line.split()[-1] for line in changed.stdout.splitlines()] in ([], ["/etc/openngt/agent_first_disc"])
    tree.say("echo secret > /usr/local/openngt/config/identity.pem")
    rpm(tree, "--erase", "openngt-agent")
    left = set(tree.say(LIST).splitlines()) ^ set(before.splitlines())
    assert left <= {"/etc/openngt", "/etc/openngt/agent_first_disc.rpmsave"}, left


def copy(vm: WarmVm, package: Path) -> None:
    command = vm.target.command("root", f"base64 -d > /tmp/{package.name}")
    done = run(command, timeout=120, stdin=base64.b64encode(package.read_bytes()).decode())
    assert done.returncode == 0, done


def linked(client: Client, vm: WarmVm) -> bool:
    record = client.vm(vm.vm_uuid)
    return bool(record["communication_link_active"] and (record["certificate"] or {}).get("kind") == "link")


@pytest.fixture
def web(guests: Guests, service: ServiceProcess, restored: None) -> Iterator[WarmVm]:
    """With a later agent on the service's shelf."""
    shelf = service.state / "agents"
    made = not shelf.exists()
    shelf.mkdir(exist_ok=True)
    later = shelf / f"ngt_agent-{NEXT}.pyz"
    later.write_bytes(release(NEXT))
    yield guests.web
    guests.web.ssh("dpkg --purge openngt-agent; rm -f /tmp/openngt-agent_*")
    later.unlink()
    if made:
        shelf.rmdir()


def test_a_packaged_agent_takes_its_identity_from_its_vms_disc_by_itself(
    web: WarmVm, service: ServiceProcess, client: Client, tmp_path: Path
) -> None:
    [made] = build_packages(tmp_path, ["deb"], ca_sha256=client.ca()["ca_sha256"])
    package = Path(made["path"])
    copy(web, package)
    before = said(web, LIST)
    said(web, f"dpkg -i /tmp/{package.name}")
    assert said(web, f"systemctl is-active {UNIT}") == "active"
    until(lambda: "there is no identity yet" in said(web, "ngtcli status"), "the agent's first word")

    held = drives(client, web)
    client.enable(web.vm_uuid)
    client.wait_task(client.mount(web.vm_uuid, HOLDER, 1800), LIMIT_SECONDS)
    until(lambda: linked(client, web), "the link")
    until(lambda: drives(client, web) == held and isos(service.state) == [], "the disc's end")
    assert said(web, VERIFY) == ""
    journal = said(web, f"journalctl --no-pager -o cat -u {UNIT}")
    assert "first identity: the CA" in journal and "is trusted (fingerprint)" in journal

    upgrade = client.upgrade(vm=[web.vm_uuid], version=NEXT)
    assert client.wait_task(upgrade, LIMIT_SECONDS)["state"] == "succeeded"
    assert said(web, VERIFY) == "", "what the link has brought is none of the package's files"
    assert f"agent {NEXT}, which is newer, stays" in said(web, f"dpkg -i /tmp/{package.name}")
    assert client.vm(web.vm_uuid)["agent_version"] == NEXT

    said(web, "dpkg --purge openngt-agent")
    until(lambda: not client.vm(web.vm_uuid)["communication_link_active"], "the end of the link")
    assert said(web, LIST) == before
    assert "could not be found" in web.ssh(f"systemctl status {UNIT} 2>&1").stdout
