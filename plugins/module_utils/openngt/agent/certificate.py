# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What a VM's certificate says about its VM: the SAN URIs of ARCHITECTURE.md, section 2."""

import re
from typing import Dict, NamedTuple, Optional, Sequence

__all__ = ["SHA256", "UUID", "Vm", "vm_of"]

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PREFIX = "urn:openngt:"
GENERATION = re.compile(r"[1-9][0-9]{0,17}")

Vm = NamedTuple("Vm", [("vm_uuid", str), ("generation", int), ("manifest_sha256", Optional[str])])


def vm_of(uris: Sequence[str]) -> Vm:
    """The VM that the URIs name.

    ValueError when they name none, or hold anything of our name space that is unknown, malformed or said twice: what
    could be read as two VMs must never be read as one.
    """
    said: Dict[str, str] = {}
    for uri in uris:
        if uri.startswith(PREFIX):
            name, _colon, value = uri[len(PREFIX) :].partition(":")
            if name in said:
                raise ValueError("the certificate names its {0} twice".format(name))
            said[name] = value
    vm_uuid, generation = said.pop("vm", ""), said.pop("generation", "")
    manifest = said.pop("manifest", None)
    if said or not UUID.fullmatch(vm_uuid) or not GENERATION.fullmatch(generation):
        raise ValueError("the certificate does not name one VM and its generation")
    if manifest is None:
        return Vm(vm_uuid, int(generation), None)
    algorithm, _colon, digest = manifest.partition(":")
    if algorithm != "sha256" or not SHA256.fullmatch(digest):
        raise ValueError("the certificate has a malformed manifest digest")
    return Vm(vm_uuid, int(generation), digest)
