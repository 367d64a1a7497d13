# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization as users write it: what is taken, and that a refusal names the field and never the value."""

import base64
import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.customization.model import Customization, GuestFile, Script
from openngt.customization.spec import parse
from openngt.errors import OpenNGTError

SECRET = "s3cr3t-value"


def no_datastore(path: str) -> bytes:
    raise OpenNGTError("FILE_UNUSABLE", "there is no such file", {"path": path})


def refused(spec: Any) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        parse(spec, no_datastore)
    assert caught.value.code == "INVALID_INPUT"
    assert SECRET not in str(caught.value.to_dict())
    return caught.value


def test_nothing_given_is_the_default_customization() -> None:
    assert parse({}, no_datastore) == Customization()


def test_all_that_can_be_given() -> None:
    spec = {
        "format": "cloud_init",
        "scripts": [
            {"content": "#!/bin/sh\r\n", "name": "first.sh"},
            {"content_base64": base64.encodebytes(b"\x1f\x8b\0").decode()},
            {"datastore_path": "web/user-data.yml"},
        ],
        "options": {"hostname": "web1", "packages": ["nginx"]},
        "network": {"version": 2},
        "files": [{"path": "/etc/motd", "content": "hello\n", "mode": "0600", "owner": "root:adm"}],
        "datasource": "config_drive",
        "install_type": "fresh",
        "instance_id": "i-2",
        "meta_data": {"role": "web"},
        "power_on": True,
        "wait_seconds": 900,
    }
    read: list[str] = []

    def datastore(path: str) -> bytes:
        read.append(path)
        return b"#cloud-config\n{}\n"

    assert parse(spec, datastore) == Customization(
        scripts=(Script(b"#!/bin/sh\r\n", "first.sh"), Script(b"\x1f\x8b\0"), Script(b"#cloud-config\n{}\n")),
        options={"hostname": "web1", "packages": ["nginx"]},
        network={"version": 2},
        files=(GuestFile("/etc/motd", b"hello\n", "0600", "root:adm"),),
        datasource="config_drive",
        install_type="fresh",
        instance_id="i-2",
        meta_data={"role": "web"},
    )
    assert read == ["web/user-data.yml"]


def test_what_is_changed_later_does_not_change_the_customization() -> None:
    options = {"packages": ["nginx"]}
    customization = parse({"options": options}, no_datastore)
    options["packages"].append("sshd")
    assert customization.options == {"packages": ["nginx"]}


DEEP: Any = SECRET
for _ in range(40):
    DEEP = [DEEP]

WRONG: Mapping[str, tuple[Any, str]] = {
    "no mapping": ([SECRET], "customization"),
    "an unknown key": ({"scirpts": []}, "scirpts"),
    "an unknown key that looks like a value": ({f"password={SECRET}": 1}, "customization"),
    "an unknown format": ({"format": SECRET}, "format"),
    "a format that is no text": ({"format": [SECRET]}, "format"),
    "scripts as one text": ({"scripts": SECRET}, "scripts"),
    "a script that is text": ({"scripts": [SECRET]}, "scripts[0]"),
    "a script without content": ({"scripts": [{"content": "#!/bin/sh"}, {"name": "x"}]}, "scripts[1]"),
    "two contents": ({"scripts": [{"content": SECRET, "content_base64": SECRET}]}, "scripts[0]"),
    "content that is no text": ({"scripts": [{"content": {SECRET: 1}}]}, "scripts[0].content"),
    "half of a surrogate pair": ({"scripts": [{"content": SECRET + "\ud800"}]}, "scripts[0].content"),
    "bad base64": ({"scripts": [{"content_base64": SECRET}]}, "scripts[0].content_base64"),
    "base64 beyond ASCII": ({"scripts": [{"content_base64": SECRET + "ä"}]}, "scripts[0].content_base64"),
    "a name with a folder": ({"scripts": [{"content": "x", "name": f"../{SECRET}"}]}, "scripts[0].name"),
    "a file without a path": ({"files": [{"content": SECRET}]}, "files[0].path"),
    "a mode as YAML's octal number": ({"files": [{"path": "/a", "content": "", "mode": 420}]}, "files[0].mode"),
    "an owner with a blank": ({"files": [{"path": "/a", "content": "", "owner": "a b"}]}, "files[0].owner"),
    "an unknown key of a file": ({"files": [{"path": "/a", "content": "", "perms": "1"}]}, "files[0].perms"),
    "too many scripts": ({"scripts": [{"content": "x"}] * 101}, "scripts"),
    "contents out of bounds": ({"files": [{"path": "/a", "content": "x" * (17 << 20)}] * 2}, "files[1].content"),
    "options as a list": ({"options": [SECRET]}, "options"),
    "options nested too deeply": ({"options": {"a": DEEP}}, "options.a" + "[0]" * 31),
    "an option without end": ({"options": {"a": [float("inf")]}}, "options.a[0]"),
    "an option that JSON has not": ({"options": {"a": {SECRET}}}, "options.a"),
    "an option's key that is no text": ({"options": {"a": {1: SECRET}}}, "options.a"),
    "a network as text": ({"network": SECRET}, "network"),
    "an instance id that leaves its folder": ({"instance_id": f"../{SECRET}"}, "instance_id"),
    "an instance id that is a number": ({"instance_id": 7}, "instance_id"),
}


@pytest.mark.parametrize(("spec", "field"), WRONG.values(), ids=WRONG)
def test_a_refusal_names_the_field(spec: Any, field: str) -> None:
    error = refused(spec)
    assert error.details == {"field": field}
    assert error.message.startswith(field + " ")


def test_what_the_datastore_refuses_is_told_with_the_field() -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse({"scripts": [{"datastore_path": "no.yml"}]}, no_datastore)
    assert caught.value.code == "FILE_UNUSABLE"
    assert caught.value.message == "scripts[0].datastore_path: there is no such file"
    assert caught.value.details == {"path": "no.yml", "field": "scripts[0].datastore_path"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
NAMES = ("format", "scripts", "options", "network", "files", "datasource", "instance_id", "meta_data", "other")
ITEM = st.dictionaries(st.sampled_from(("content", "content_base64", "datastore_path", "path", "mode", "name")), JSON)


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.lists(ITEM, max_size=3)))
def test_whatever_is_given_is_taken_or_refused_by_a_code(spec: dict[str, Any]) -> None:
    before = copy.deepcopy(spec)
    try:
        assert isinstance(parse(spec, no_datastore), Customization)
    except OpenNGTError as exc:
        assert exc.code in ("INVALID_INPUT", "FILE_UNUSABLE")
    assert str(spec) == str(before)
