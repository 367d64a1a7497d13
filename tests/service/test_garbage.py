# SPDX-License-Identifier: GPL-3.0-or-later
"""Seldom is not never."""

import gc
import weakref

from openngt_service import garbage


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_made_after_settling_are_still_found() -> None:
    thresholds = gc.get_threshold()
    try:
        garbage.settle()
        lost = weakref.ref(Node())
        kept = [[number] for number in range(2 * garbage.YOUNG_OBJECTS)]
        assert kept and lost() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
