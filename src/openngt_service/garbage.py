# SPDX-License-Identifier: GPL-3.0-or-later
"""How often Python searches for garbage in cycles: by default that is a seventh of what an agent's connection costs."""

import gc
from typing import Final

__all__ = ["settle"]

# New objects between two searches; a connected agent keeps some tens of them for as long as it stays.
YOUNG_OBJECTS: Final = 10_000


def settle() -> None:
    """Call once, when all is loaded: what is there now stays and is searched no more; later cycles are still found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
