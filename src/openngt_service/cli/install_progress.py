# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fleet install is: a bar that lives on a terminal, a line for each guest that has ended otherwise."""

import sys
import time
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from openngt.install.fleet.report import Event, Row

from .output import printable, say

__all__ = ["Bar", "Lines", "progress"]


INTERRUPTED = "no further guest is begun, those at work come to an end; the next Ctrl-C cuts connections and waits"


class Working(NamedTuple):
    name: str
    phase: str
    since: float


class Lines:
    """A line for each guest that has come to its end, on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, event: Event) -> None:
        if event.row is not None:
            say(f"[{event.done}/{event.total}] {line_of(event.row)}")

    def interrupted(self) -> None:
        say(INTERRUPTED)


class Bar:
    """Done, failed, left, and who has been at work for longest; failures stay on the screen above it."""

    def __init__(self, console: Console, *, check: bool = False) -> None:
        self._working: dict[str, Working] = {}
        self._failed = 0
        self._slowest: Working | None = None
        self._progress = Progress(
            TextColumn("checking" if check else "installing"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed, {task.remaining} left"),
            TimeElapsedColumn(),
            SlowestColumn(self),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=0, failed=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def slowest(self) -> Working | None:
        """Read by the thread that draws; one assignment sets it."""
        return self._slowest

    def tell(self, event: Event) -> None:
        row = event.row
        if row is not None:
            self._working.pop(event.name, None)
            self._failed += row.state == "failed"
        elif event.phase is not None:
            before = self._working.get(event.name)
            since = time.monotonic() if before is None else before.since
            self._working[event.name] = Working(event.name, event.phase, since)
        self._slowest = min(self._working.values(), key=lambda each: each.since, default=None)
        self._progress.update(self._task, completed=event.done, total=event.total, failed=self._failed)
        if row is not None and row.state == "failed":
            self._progress.console.print(Text(printable(line_of(row))))

    def interrupted(self) -> None:
        self._progress.console.print(INTERRUPTED)


class SlowestColumn(ProgressColumn):
    """Drawn anew several times a second, so that its seconds run while nothing is told."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        slowest = self._bar.slowest
        if slowest is None:
            return Text("")
        seconds = time.monotonic() - slowest.since
        return Text(f"slowest: {printable(slowest.name)} ({slowest.phase}, {seconds:.0f} s)", style="dim")


def progress(*, check: bool) -> Bar | Lines:
    """A bar where a person sees standard error."""
    if not sys.stderr.isatty():
        return Lines()
    return Bar(Console(stderr=True, markup=False, highlight=False), check=check)


def line_of(row: Row) -> str:
    """What became of a guest, in one line."""
    if row.state != "failed":
        return f"{row.name}: {row.state}"
    phase = f" in {row.phase}" if row.phase else ""
    return f"{row.name}: failed{phase} [{row.code}] {row.message}"
