# SPDX-License-Identifier: GPL-3.0-or-later
"""F25: power, mount, refresh and deletion of a VM at once, in a hundred thousand random orders; what was left undone.

python -m bench.interleavings ROUNDS   runs fewer, or more
"""

import asyncio
import logging
import sys
import time
from collections import Counter

import structlog
from tests.fakes.interleavings import LEGAL, interleave

from bench._rows import Row, row

__all__ = ["rows"]

ROUNDS = 100_000
CHUNK = 2_000
"""So many rounds of one service; then comes another, with another seed."""
VMS = 30
SEED = 20261125


def rows(rounds: int = ROUNDS) -> list[Row]:
    """About half an hour of a CPU. RuntimeError names the seed under which something was not in order."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    ended: Counter[str] = Counter()
    for number, start in enumerate(range(0, rounds, CHUNK)):
        try:
            ended += asyncio.run(interleave(min(CHUNK, rounds - start), vms=VMS, seed=SEED + 1000 * number))
        except (AssertionError, TimeoutError) as exc:
            raise RuntimeError(f"not in order with seed {SEED + 1000 * number}: {exc!r}") from exc
    illegal = sum(count for code, count in ended.items() if code not in LEGAL)
    name = f"deeds that ended without a known code, of {ended.total():,} in {rounds:,} random interleavings"
    return [row(name, illegal, "deeds", goal=f"0 in {ROUNDS:,}", met=illegal == 0 and rounds >= ROUNDS)]


if __name__ == "__main__":
    begin = time.monotonic()
    print(rows(int(sys.argv[1])), f"{time.monotonic() - begin:.0f} s")
