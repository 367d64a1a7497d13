# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of random interleavings of all that can be done to a VM (F25, F32); bench/interleavings.py has more."""

import asyncio
import logging

import pytest
import structlog
from tests.fakes.interleavings import LEGAL, interleave

ROUNDS = 1000


@pytest.mark.slow
def test_whatever_meets_whatever_each_ends_well_or_with_a_code_and_all_is_in_order() -> None:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        ended = asyncio.run(interleave(ROUNDS, vms=30, seed=20261125))
    finally:
        structlog.configure(**before)
    assert set(ended) <= LEGAL, ended
    assert {"done", "VM_BUSY", "VM_POWERED_OFF", "NOT_ENROLLED", "LINK_NOT_ACTIVE"} <= set(ended), ended
