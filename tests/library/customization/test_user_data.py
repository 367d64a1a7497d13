# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind a script is, as cloud-init sees it, and several of them in one message, read back by another reader."""

import email
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.customization.user_data import Part, kind_of, user_data
from openngt.errors import OpenNGTError


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"#!/bin/sh\ntrue\n", "script"),
        (b"#!/usr/bin/python3\r\npass\r\n", "script"),
        (b"#include\nhttp://192.0.2.1/one\n", "include"),
        (b"#include-once\nhttp://192.0.2.1/one\n", "include_once"),
        (b"#cloud-config\nhostname: web1\n", "cloud_config"),
        (b"#Cloud-Config\n{}\n", "cloud_config"),
        (b"\n\n  #cloud-config\n{}\n", "cloud_config"),
        (b"#cloud-config-archive\n- '#!/bin/sh'\n", "cloud_config_archive"),
        (b"#cloud-config-jsonp\n[]\n", "cloud_config_jsonp"),
        (b"#cloud-boothook\n#!/bin/sh\n", "boothook"),
        (b"#part-handler\n", "part_handler"),
        (b"## template: jinja\n#cloud-config\n", "jinja"),
        (gzip.compress(b"#!/bin/sh\n", mtime=0), "gzip"),
        (b"Content-Type: multipart/mixed; boundary=a\nMIME-Version: 1.0\n\n--a--\n", "mime"),
        (b"#!/bin/sh\necho 'Mime-Version: 1.0' | sendmail root\n", "mime"),
        (b"", "unknown"),
        (b"hostname: web1\n", "unknown"),
        (b"#!\xff\xfe", "unknown"),
        ("\ufeff#cloud-config\n".encode(), "unknown"),
    ],
)
def test_the_first_words_say_what_a_script_is(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind


def read(content: bytes) -> list[tuple[str, str | None, bytes]]:
    """(type, file name, content) of each part, read as cloud-init reads a message: text, decoded, walked."""
    message = email.message_from_string(content.decode())
    parts = [part for part in message.walk() if part.get_content_maintype() != "multipart"]
    return [(part.get_content_type(), part.get_filename(), part.get_payload(decode=True)) for part in parts]  # type: ignore[misc]


def parts_of(*contents: bytes) -> list[Part]:
    return [Part(content, "", f"scripts[{number}]") for number, content in enumerate(contents)]


def test_one_script_alone_is_written_as_it_is_and_none_as_nothing() -> None:
    assert user_data([]) == b""
    for content in (b"#!/bin/sh\r\n", gzip.compress(b"#cloud-config\n{}\n", mtime=0), MESSAGE):
        assert user_data(parts_of(content)) == content


MESSAGE = b"""MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: text/x-shellscript
Content-Disposition: attachment; filename="one.sh"

#!/bin/sh
--a
Content-Type: text/cloud-config

#cloud-config
{}
--a--
"""


def test_several_scripts_become_one_message_in_their_order() -> None:
    packed = gzip.compress(b"#cloud-config\n{}\n", mtime=0)
    content = user_data(
        [
            Part(b"#!/bin/sh\ntrue\n", "folder/set up.sh", "scripts[0]"),
            Part("#cloud-config\nlocale: Zürich\n".encode(), "", "scripts[1]"),
            Part(packed, "", "scripts[2]"),
            Part(b"## template: jinja\r\n#!/bin/sh\r\n", "late", "scripts[3]"),
            Part(b"#include\nhttp://192.0.2.1/\n", "", "scripts[4]"),
        ]
    )
    assert read(content) == [
        ("text/x-shellscript", "001-set_up.sh", b"#!/bin/sh\ntrue\n"),
        ("text/cloud-config", "002-cloud_config", "#cloud-config\nlocale: Zürich\n".encode()),
        ("application/gzip", "003-gzip", packed),
        ("text/jinja2", "004-late", b"## template: jinja\r\n#!/bin/sh\r\n"),
        ("text/x-include-url", "005-include", b"#include\nhttp://192.0.2.1/\n"),
    ]
    assert b"\n#!/bin/sh\ntrue\n" in content  # a person can read the preview


@given(st.lists(st.sampled_from(["", "#!", "#cloud-config\n", "From me\n", "--a--\n"]).flatmap(
    lambda start: st.text(max_size=40).map(lambda rest: (start + rest).encode())
), min_size=2, max_size=5))  # fmt: skip
def test_whatever_stands_in_scripts_arrives_unchanged(contents: list[bytes]) -> None:
    assert [content for _type, _name, content in read(user_data(parts_of(*contents)))] == contents


def test_the_same_scripts_make_the_same_message() -> None:
    scripts = parts_of(b"#!/bin/sh\n", b"#cloud-config\n{}\n")
    assert user_data(scripts) == user_data(scripts) != user_data(scripts[::-1])


@pytest.mark.parametrize("content", [MESSAGE, gzip.compress(MESSAGE, mtime=0)])
def test_a_message_among_scripts_gives_its_parts_in_its_place(content: bytes) -> None:
    found = read(user_data(parts_of(b"#!/bin/sh\nfirst\n", content, b"#!/bin/sh\nlast\n")))
    assert [(kind, name) for kind, name, _content in found] == [
        ("text/x-shellscript", "001-script"),
        ("text/x-shellscript", "one.sh"),
        ("text/cloud-config", None),
        ("text/x-shellscript", "003-script"),
    ]


def test_a_script_that_quotes_a_header_of_mail_is_not_taken_for_a_message() -> None:
    script = b"#!/bin/sh\nprintf 'MIME-Version: 1.0\\n' >/tmp/mail\n"
    content = user_data(parts_of(script))
    assert kind_of(content) == "mime"
    assert read(content) == [("text/x-shellscript", "001-script", script)]


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b\x08 not gzip",
        gzip.compress(b"#!/bin/sh\n", mtime=0)[:-9],
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\nno part\n",
        b"MIME-Version: 1.0\n\n\xff",
        gzip.compress(b"MIME-Version: 1.0\n\n" + bytes(5 << 20), mtime=0),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(content: bytes) -> None:
    with pytest.raises(OpenNGTError) as caught:
        user_data(parts_of(b"#!/bin/sh\n", content))
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": "scripts[1]"})
