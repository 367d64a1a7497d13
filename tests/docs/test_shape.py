# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule by which printed output is compared tells a real difference from a new serial."""

import pytest

from .shape import differences

PAGE = [
    "Agent:    0.1.0, active (running)",
    "…",
    "Link:     active over tls to 192.0.2.10:2074 since 2026-11-21T07:00:03Z",
]


@pytest.mark.parametrize(
    "found",
    [
        ["Agent: 0.2.13, active (running)", "Link: active over tls to 10.0.2.2:41873 since 2027-01-01T00:00:00Z"],
        [
            "Agent: 0.1.0, active (running)",
            "VM: x",
            "",
            "Link: active over tls to 1.1.1.1:1 since 2027-01-01T00:00:00Z",
        ],
    ],
)
def test_what_differs_between_installations_may_differ(found: list[str]) -> None:
    assert differences(PAGE, found) is None


@pytest.mark.parametrize(
    "found",
    [
        [],
        ["Agent: 0.1.0, active (running)"],
        ["Agent: 0.1.0, failed", "Link: active over tls to 10.0.2.2:41873 since 2027-01-01T00:00:00Z"],
        ["Agent: 0.1.0, active (running)", "Link: active over tls to 10.0.2.2:41873 since yesterday"],
        ["first", "Agent: 0.1.0, active (running)", "Link: active over tls to 10.0.2.2:1 since 2027-01-01T00:00:00Z"],
    ],
)
def test_another_word_a_missing_line_and_a_line_too_many_are_found(found: list[str]) -> None:
    assert differences(PAGE, found) is not None


def test_nothing_is_not_taken_for_something() -> None:
    assert differences(["ok=10 changed=0"], ["ok=9 changed=0", ""]) is None
    assert differences(["ok=10 changed=0"], ["ok=10 changed=3"]) is not None


def test_words_and_ids_are_not_taken_for_one_another() -> None:
    assert differences(["VM 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"], ["VM none"]) is not None
    assert differences(["CA 0123456789abcdef"], ["CA fedcba9876543210"]) is None
    assert differences(["state defaced"], ["state decade"]) is not None
