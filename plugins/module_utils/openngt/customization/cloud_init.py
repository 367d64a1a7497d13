# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CD-ROM holds for cloud-init: the datasources NoCloud and ConfigDrive (as OpenStack has it).

The files are those of cloud-init's documentation of either datasource, tried with its own readers (22.4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._yaml import dump
from .carried_files import copy_config
from .cloud_config import check_files, cloud_config, is_hostname, network_of, rendered, written_file
from .model import Customization, GuestFile, Media, MediaFile, MediaVm
from .network_config import network_data, unwrapped
from .options import invalid
from .user_data import Part, user_data

__all__ = ["LABELS", "LARGEST_USER_DATA", "build_cloud_init", "config_drive", "nocloud"]

Json = dict[str, Any]

LABELS = {"nocloud": "cidata", "config_drive": "config-2"}
CARRIED = {"nocloud": "files/{:04d}", "config_drive": "openstack/content/{:04d}"}
"""Where on the disc a file lies that does not fit into the user-data."""
LARGEST_USER_DATA = 128_000
"""Bytes, as the original's API limits them."""
JOINED = "list(append)+dict(recurse_list)+str()"
"""Lists of ours come after those of the user's own cloud-configs, under the same keys."""


def build_cloud_init(customization: Customization, vm: MediaVm, reporter: str | None = None) -> Media:
    """The media for a Linux guest. `reporter` is a script that becomes vendor-data.

    The scripts come first, as they are. What the options say of a key stands above what a script says of it, but lists
    (users, packages, commands, files) are joined. Files stand in the user-data where all of it stays within
    LARGEST_USER_DATA, and else lie on the disc. INVALID_INPUT names the field that does not do.
    """
    network = _network(customization)
    own_files, content = _user_data(customization)
    meta_data = _meta_data(customization, vm)
    if customization.datasource == "config_drive":
        files = config_drive(
            content, meta_data, None if network is None else network_data(network, gateways=True), reporter
        )
    else:
        files = nocloud(content, meta_data, network, reporter)
    carried = [MediaFile(at, file.content) for at, file in own_files.items()]
    return Media(LABELS[customization.datasource], (*files, *carried))


def nocloud(
    content: bytes, meta_data: Json, network: Mapping[str, Any] | None, reporter: str | None
) -> list[MediaFile]:
    """The datasource NoCloud. `meta_data` has cloud-init's keys, `instance-id` among them."""
    files = [MediaFile("user-data", content), MediaFile("meta-data", dump(meta_data).encode())]
    if network is not None:
        files.append(MediaFile("network-config", dump(dict(network)).encode()))
    if reporter is not None:
        files.append(MediaFile("vendor-data", reporter.encode()))
    return files


def config_drive(
    content: bytes, meta_data: Json, network: Mapping[str, Any] | None, reporter: str | None
) -> list[MediaFile]:
    """A config drive. Keys of `meta_data` that OpenStack calls otherwise are renamed; `network` is network_data's."""
    renamed = {"instance-id": "uuid", "local-hostname": "hostname"}
    folder = "openstack/latest/"
    files = [
        MediaFile(folder + "user_data", content),
        MediaFile(folder + "meta_data.json", _json({renamed.get(key, key): meta_data[key] for key in meta_data})),
    ]
    if network is not None:
        files.append(MediaFile(folder + "network_data.json", _json(network)))
    if reporter is not None:
        files.append(MediaFile(folder + "vendor_data.json", _json({"cloud-init": reporter})))
    return files


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _network(customization: Customization) -> Json | None:
    built = network_of(customization.options)
    if built is not None and customization.network is not None:
        raise invalid("options.interfaces", "is given beside network: one of them is enough")
    return built if customization.network is None else unwrapped(customization.network)


def _meta_data(customization: Customization, vm: MediaVm) -> Json:
    """The host name is the option's, else the VM's name where it is one: clones do not keep their template's."""
    given = dict(customization.meta_data)
    for key in ("instance-id", "instance_id", "uuid"):
        if key in given:
            raise invalid(f"meta_data.{key}", "is written by us: give the option instance_id")
    options = customization.options
    name = options.get("fqdn") or options.get("hostname") or (vm.vm_name if is_hostname(vm.vm_name) else None)
    named = {} if name is None or "hostname" in given else {"local-hostname": name}
    return {"instance-id": vm.instance_id, **named, **given}


def _user_data(customization: Customization) -> tuple[dict[str, GuestFile], bytes]:
    """The files that lie on the disc, and the user-data."""
    scripts = [
        Part(script.content, script.name, f"scripts[{number}]") for number, script in enumerate(customization.scripts)
    ]
    config = cloud_config(customization.options)
    check_files(customization.files)
    # Before any of it is written as YAML, which takes seconds for megabytes that will not fit anyway.
    if sum(len(file.content) for file in customization.files) <= LARGEST_USER_DATA:
        written = {"write_files": list(map(written_file, customization.files))} if customization.files else {}
        content = user_data([*scripts, *_parts(config | written, bool(scripts))])
        if not customization.files or len(content) <= LARGEST_USER_DATA:
            return {}, content
    place = CARRIED[customization.datasource]
    carried = {place.format(number): file for number, file in enumerate(customization.files)}
    whole = config | copy_config(carried, LABELS[customization.datasource])
    return carried, user_data([*scripts, *_parts(whole, bool(scripts))])


def _parts(config: Json, beside_scripts: bool) -> Sequence[Part]:
    """One part, or beside the user's own two: what replaces, by cloud-init's default, and the lists that are joined."""
    lists = {key: value for key, value in config.items() if isinstance(value, list)}
    settings = {key: value for key, value in config.items() if key not in lists}
    halves = (
        [("options", settings, ""), ("options-lists", lists, JOINED)] if beside_scripts else [("options", config, "")]
    )
    return [Part(rendered(half).encode(), f"{name}.cfg", "options", merge) for name, half, merge in halves if half]
