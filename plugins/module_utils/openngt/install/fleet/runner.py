# SPDX-License-Identifier: GPL-3.0-or-later
"""Install in many guests at once; one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ...client import Client
from .report import OnEvent, Options, Refused, Report
from .target import Target

__all__ = ["install"]


def install(
    targets: Sequence[Target],
    options: Options,
    service: Callable[[], Client],
    on_event: OnEvent = lambda event: None,
    *,
    refused: Sequence[Refused] = (),
    stop: threading.Event | None = None,
) -> Report:
    """Have the agent installed and its link proven in every target, and say what became of each.

    `service` makes a client of the service; it is called once for each thread. Once `stop` is set no further guest is
    begun and those at work come to an orderly end, as after the first KeyboardInterrupt; a second one cuts their
    connections.

    Raises only what concerns all: INVALID_INPUT, SERVICE_CONFLICT (another run has the journal), and what the service
    answers to the first question.
    """
    raise NotImplementedError
