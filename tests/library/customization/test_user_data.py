# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind a script is, as cloud-init sees it."""

import gzip

import pytest

from openngt.customization.user_data import kind_of


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
        (gzip.compress(b"#!/bin/sh\n"), "gzip"),
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
