# SPDX-License-Identifier: GPL-3.0-or-later
"""UUIDs and the SAN URIs that carry an identity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openngt.errors import OpenNGTError
from openngt.pki.identity import (
    VmIdentity,
    default_ngt_uuid,
    identity_uris,
    normalise_uuid,
    parse_identity_uris,
)

VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
DIGEST = "ab" * 32
OF_VM, OF_GENERATION = f"urn:openngt:vm:{VM}", "urn:openngt:generation:3"


@given(
    st.builds(
        VmIdentity,
        vm_uuid=st.uuids().map(str),
        generation=st.integers(1, 10**18 - 1),
        manifest_sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    )
)
def test_an_identity_survives_its_uris(identity: VmIdentity) -> None:
    assert parse_identity_uris(identity_uris(identity)) == identity


def test_foreign_uris_are_no_identity() -> None:
    assert parse_identity_uris(["https://example.org/", "urn:other:vm:1"]) is None
    assert parse_identity_uris([]) is None
    assert parse_identity_uris(["spiffe://example.org/x", OF_VM, OF_GENERATION]) == VmIdentity(VM, 3)


@pytest.mark.parametrize(
    "uris",
    [
        [OF_VM],
        [OF_GENERATION],
        [OF_VM, OF_VM, OF_GENERATION],
        [OF_VM, OF_GENERATION, "urn:openngt:generation:4"],
        [OF_VM, OF_GENERATION, "urn:openngt:role:admin"],
        [OF_VM.upper().replace("URN:OPENNGT:VM", "urn:openngt:vm"), OF_GENERATION],
        [OF_VM, "urn:openngt:generation:0"],
        [OF_VM, "urn:openngt:generation:03"],
        [OF_VM, "urn:openngt:generation:-1"],
        [OF_VM, "urn:openngt:generation:٣"],
        [OF_VM, "urn:openngt:generation:" + "9" * 5000],
        [OF_VM, OF_GENERATION, f"urn:openngt:manifest:{DIGEST}"],
        [OF_VM, OF_GENERATION, f"urn:openngt:manifest:sha256:{DIGEST}0"],
        [OF_VM, OF_GENERATION, f"urn:openngt:manifest:sha256:sha256:{DIGEST}"],
    ],
)
def test_an_identity_that_is_not_plain_is_refused(uris: list[str]) -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse_identity_uris(uris)
    assert caught.value.code == "CERTIFICATE_INVALID"


@given(st.lists(st.text().map("urn:openngt:".__add__) | st.text()))
def test_no_uri_brings_another_error(uris: list[str]) -> None:
    try:
        parse_identity_uris(uris)
    except OpenNGTError as error:
        assert error.code == "CERTIFICATE_INVALID"


def test_a_uuid_is_lower_case_and_nothing_else() -> None:
    assert normalise_uuid(VM.upper(), "vm_uuid") == VM
    with pytest.raises(OpenNGTError) as caught:
        normalise_uuid(f"urn:uuid:{VM}", "vm_uuid")
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": "vm_uuid"})


def test_the_derived_ngt_uuid_follows_from_ca_and_vm() -> None:
    other_vm = "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
    derived = default_ngt_uuid(DIGEST, VM)
    assert derived == normalise_uuid(derived, "ngt_uuid") == default_ngt_uuid(DIGEST, VM)
    assert len({derived, default_ngt_uuid("cd" * 32, VM), default_ngt_uuid(DIGEST, other_vm)}) == 3
