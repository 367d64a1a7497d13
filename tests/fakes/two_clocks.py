# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock on the wall and the one since boot, as a test sets them."""

import datetime

import pytest

from openngt import effects
from openngt_service.store.customizations import Customizations
from openngt_service.store.mounts import Mounts

__all__ = ["TwoClocks"]


class TwoClocks:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = effects.now().replace(microsecond=0)
        self.since_boot = 1000.0
        monkeypatch.setattr(effects, "now", lambda: self.wall)

    def of(self, rows: Mounts | Customizations) -> None:
        rows._clock = lambda: self.since_boot

    def pass_by(self, seconds: float) -> None:
        self.wall += datetime.timedelta(seconds=seconds)
        self.since_boot += seconds
