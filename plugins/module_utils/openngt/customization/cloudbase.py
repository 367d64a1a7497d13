# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CD-ROM holds for Cloudbase-Init: NoCloud or a config drive, in the forms that `cloudbase_reference` names."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from email.encoders import encode_base64
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.policy import compat32
from hashlib import sha256
from typing import Any

from ..errors import OpenNGTError
from .cloudbase_reference import FIRST_LINES, NOT_IN_MULTIPART, kind_of
from .model import Customization, GuestFile, Json, Media, MediaFile, MediaVm, Script
from .network_config import network_data, unwrapped
from .sysprep import host_names
from .windows_options import check_options, network_of
from .windows_paths import path_problem
from .windows_scripts import winrm_script

__all__ = ["LABELS", "LIMIT", "META_DATA_LIMIT", "build_cloudbase", "cloudbase_problems"]

LABELS = {"nocloud": "cidata", "config_drive": "config-2"}
LIMIT = 128_000
"""Bytes of user data, as the original's API limits them."""
META_DATA_LIMIT = 32_000
OWN_KEYS = ("instance-id", "instance_id", "uuid")
FORMAT = "cloudbase_init"


def build_cloudbase(customization: Customization, vm: MediaVm) -> Media:
    """Scripts in their order, then what the options and files say, then `options.winrm_prep`.

    `administrator_password` is of the account that the image's own configuration of Cloudbase-Init names. INVALID_INPUT
    names what is wrong as `scripts[0].content`, never a value.
    """
    check_options(customization.options, format=FORMAT)
    for field, what in cloudbase_problems(customization):
        raise OpenNGTError("INVALID_INPUT", f"{field} {what}", {"field": field})
    user_data = _user_data(_parts(customization, vm))
    meta_data = _meta_data(customization, vm)
    _bounded("user_data", len(user_data), LIMIT, "have the guest fetch the rest by a script")
    _bounded("meta_data", len(meta_data), META_DATA_LIMIT, "leave keys of meta_data out")
    network = customization.network if customization.network is not None else network_of(customization.options)
    if customization.datasource == "config_drive":
        files = [
            MediaFile("openstack/latest/meta_data.json", meta_data),
            MediaFile("openstack/latest/user_data", user_data),
        ]
        if network is not None:
            files.append(MediaFile("openstack/latest/network_data.json", _json(network_data(network))))
    else:
        files = [MediaFile("meta-data", meta_data), MediaFile("user-data", user_data)]
        if network is not None:
            files.append(MediaFile("network-config", _json(unwrapped(network))))
    return Media(LABELS[customization.datasource], tuple(files))


def cloudbase_problems(customization: Customization) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it), but for the options, each of which is judged by itself."""
    more = len(customization.scripts) > 1 or bool(customization.files) or bool(_options_with_parts(customization))
    for number, script in enumerate(customization.scripts):
        kind, field = kind_of(script.content), f"scripts[{number}].content"
        if kind == "unknown":
            yield field, f"begins with none of {', '.join(FIRST_LINES)}"
        elif kind in NOT_IN_MULTIPART and more:
            yield field, f"({kind}) can only be all of the user data; leave the other scripts, options and files out"
    for number, file in enumerate(customization.files):
        problem = path_problem(file.path)
        if problem is not None:
            yield f"files[{number}].path", problem
    if customization.network is not None and customization.options.get("interfaces") is not None:
        yield "options.interfaces", "is given beside network: one of them is enough"
    for key in customization.meta_data:
        if key in OWN_KEYS:
            yield f"meta_data.{key}", "is written by us; give instance_id"


def _options_with_parts(customization: Customization) -> list[str]:
    elsewhere = ("computer_name", "administrator_password", "interfaces")
    return [name for name, value in customization.options.items() if name not in elsewhere and value is not None]


def _parts(customization: Customization, vm: MediaVm) -> list[Script]:
    options = customization.options
    parts = list(customization.scripts)
    config = _cloud_config(options, customization.files)
    if config:
        # JSON is YAML, and quotes whatever has to be.
        parts.append(Script(b"#cloud-config\n" + _json(config), "options"))
    if options.get("winrm_prep") not in (None, False):
        parts.append(Script(winrm_script(options["winrm_prep"], host_names(vm)).encode(), "winrm_prep"))
    return parts


def _cloud_config(options: Mapping[str, Any], files: Sequence[GuestFile]) -> Json:
    config: Json = {
        "set_timezone": options.get("time_zone"),
        "users": [_user(account) for account in options.get("local_accounts") or ()],
        "write_files": [_written(file) for file in files],
        "runcmd": list(options.get("run_commands") or ()),
    }
    return {key: value for key, value in config.items() if value}


def _user(account: Mapping[str, Any]) -> Json:
    user = {"name": account["name"], "passwd": account["password"], "groups": account.get("groups") or ["Users"]}
    words = account.get("display_name") or account.get("description")
    return {**user, "gecos": words} if words else user


def _written(file: GuestFile) -> Json:
    content = base64.b64encode(file.content).decode("ascii")
    return {"path": file.path.replace("/", "\\"), "encoding": "b64", "content": content}


def _user_data(parts: Sequence[Script]) -> bytes:
    if len(parts) <= 1:
        return parts[0].content if parts else b""
    digest = sha256(b"\0".join(part.content for part in parts)).hexdigest()
    message = MIMEMultipart(boundary=f"openngt-{digest[:32]}", policy=compat32)
    # The reader knows a message by its first header, cloudbase_reference.MULTIPART.
    del message["MIME-Version"]
    for number, part in enumerate(parts):
        message.attach(_part(part, number))
    return message.as_bytes()


def _part(script: Script, number: int) -> MIMEBase:
    """A script goes as base64, which comes back byte for byte. A cloud-config cannot: the reader does not decode it."""
    subtype = "cloud-config" if kind_of(script.content) == "cloud_config" else "x-shellscript"
    part = MIMEBase("text", subtype)
    del part["MIME-Version"]
    if subtype == "cloud-config":
        part.set_payload(_plain(script.content))
    else:
        part.set_payload(script.content)
        encode_base64(part)
    # Without an extension, which would count above the first line.
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", script.name.rpartition(".")[0] or script.name)
    part.add_header("Content-Disposition", "attachment", filename=f"{number:03d}-{name}" if name else f"{number:03d}")
    return part


def _plain(content: bytes) -> str:
    """ASCII goes as it is; anything else is written in the bytes that it has."""
    return content.decode("ascii", "surrogateescape")


def _meta_data(customization: Customization, vm: MediaVm) -> bytes:
    options, drive = customization.options, customization.datasource == "config_drive"
    name = options.get("computer_name") or next(iter(host_names(vm)), None)
    own = {
        "uuid" if drive else "instance-id": vm.instance_id,
        "hostname" if drive else "local-hostname": None if name == "*" else name,
        "admin_pass" if drive else "admin-password": options.get("administrator_password"),
    }
    return _json({**{key: value for key, value in own.items() if value is not None}, **customization.meta_data})


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _bounded(field: str, size: int, most: int, remedy: str) -> None:
    if size > most:
        message = f"{field} has {size} bytes once it is put together; at most {most} are taken"
        raise OpenNGTError("INVALID_INPUT", message, {"field": field, "most_bytes": most}, remedy=remedy)
