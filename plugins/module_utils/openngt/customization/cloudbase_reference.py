# SPDX-License-Identifier: GPL-3.0-or-later
"""What Cloudbase-Init takes as user data, and how it tells one kind from another.

Sources: "Userdata" and "Services" at https://cloudbase-init.readthedocs.io/, and where they are silent its own source
of 1.1: `plugins/common/userdata.py`, `userdatautils.py`, `userdataplugins/` and `metadata/services/nocloudservice.py`.
"""

from __future__ import annotations

import re

__all__ = ["CLOUD_CONFIG_KEYS", "FIRST_LINES", "MULTIPART", "NOT_IN_MULTIPART", "kind_of"]

MULTIPART = b"Content-Type: multipart"
"""A message is known by its first bytes: this header has to be the first one."""
GZIP = b"\x1f\x8b"
PEM = b"-----BEGIN CERTIFICATE-----"
EC2 = re.compile(rb"</?(script|powershell)>")

_KINDS = (
    ("batch", re.compile(rb"rem\s+cmd\s")),
    ("python", re.compile(rb"#!\s*/usr/bin/env\s+python\s")),
    ("bash", re.compile(rb"#!")),
    ("powershell", re.compile(rb"#ps1(_sysnative)?\s")),
    ("powershell_x86", re.compile(rb"#ps1_x86\s")),
    ("cloud_config", re.compile(rb"#cloud-config")),
)
FIRST_LINES = ("rem cmd", "#ps1_sysnative", "#ps1_x86", "#ps1", "#cloud-config", "#!/usr/bin/env python", "#!/bin/bash")
NOT_IN_MULTIPART = ("multipart", "gzip", "certificate")
"""Kinds that are user data by themselves only."""

CLOUD_CONFIG_KEYS = (
    "groups",
    "hostname",
    "ntp",
    "runcmd",
    "set_hostname",
    "set_timezone",
    "timezone",
    "users",
    "write_files",
)
"""Of a #cloud-config; what else stands there is logged and passed over."""


def kind_of(content: bytes) -> str:
    """`batch`, `powershell`, `cloud_config`, …; `unknown` for what Cloudbase-Init leaves aside."""
    if content.startswith(MULTIPART):
        return "multipart"
    if content.startswith(GZIP):
        return "gzip"
    if content.strip().startswith(PEM):
        return "certificate"
    named = next((kind for kind, first in _KINDS if first.match(content)), None)
    return named or ("ec2" if EC2.search(content) else "unknown")
