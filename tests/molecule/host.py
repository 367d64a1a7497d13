# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian host with systemd in a container; `host` is what an inventory says of it, `bundle` the service's for it."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.e2e import releases
from tests.e2e.systemd_host import ansible_host, boot, packages_layer, require_containers

from openngt_service.lab.image import ensure_image

from .process import main

# What the role asks the host's package manager for, with what Ansible's module `apt` needs.
PACKAGES = ("python3-venv", "python3-packaging", "python3-apt")


@contextlib.contextmanager
def systemd_host(folder: Path) -> Iterator[Mapping[str, Any]]:
    image = ensure_image(lambda line: sys.stderr.write(line + "\n"))
    probe = folder / "probe"
    probe.mkdir()
    require_containers(image, probe)
    layer = packages_layer(image, probe, PACKAGES)
    bundle = releases.bundle(folder / "bundle", releases.wheel(folder))
    with boot(image, layer, folder, releases.dependencies()) as host:
        yield {"host": ansible_host(host), "bundle": str(bundle)}


if __name__ == "__main__":
    # The image and the packages may have to be fetched first.
    main(systemd_host, ready_seconds=900)
