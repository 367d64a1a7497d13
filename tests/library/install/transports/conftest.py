# SPDX-License-Identifier: GPL-3.0-or-later
"""A real sshd, where one can run."""

from collections.abc import Iterator

import pytest
from tests.fakes.sshd import Sshd, why_not


@pytest.fixture(scope="session")
def needs_sshd() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def server(needs_sshd: None) -> Iterator[Sshd]:
    """One for all tests that neither stop it nor change what it knows."""
    with Sshd() as started:
        yield started
