# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services on one state folder: the second one says so."""

from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.store.lock import state_lock


def test_the_second_process_is_refused_and_the_folder_is_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with state_lock(folder):
        with pytest.raises(OpenNGTError) as failure, state_lock(folder):
            pass
        assert failure.value.code == "SERVICE_CONFLICT"
    with state_lock(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
