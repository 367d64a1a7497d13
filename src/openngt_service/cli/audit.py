# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt audit`: who did what, as lines of JSON, and whether the chain of hashes is whole."""

import datetime
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openngt.errors import OpenNGTError

from .connect import connect

if TYPE_CHECKING:
    from ..store.audit import AuditRow

__all__ = ["app", "verify_chain"]

app = typer.Typer(help="The audit log.", no_args_is_help=True)

Json = Mapping[str, Any]
FIRST_FOLLOWS = "0" * 64


@app.command()
def export(
    context: typer.Context,
    after: Annotated[int, typer.Option(min=0, help="Only rows with a higher sequence number.")] = 0,
) -> None:
    """Write the rows to stdout, one JSON object a line, oldest first."""
    with connect(context) as client:
        for row in client.audit(after):
            sys.stdout.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="An export; without: the service's log itself.")] = None,
) -> None:
    """Recompute the chain; the first row that is missing, altered or out of place is named."""
    if file is not None:
        count, _ = verify_chain(exported(file))
    else:
        with connect(context) as client:
            head = client.audit_page()["head"]
            count, last = verify_chain(client.audit(), until=head)
        if last != head:
            raise broken(head["sequence"], "is not the row that the service remembers as its newest")
    typer.echo(f"{count} rows, chain whole")


def exported(file: Path) -> Iterable[Json]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"{file} cannot be read: {exc.strerror}") from exc
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError as exc:
            raise OpenNGTError("INVALID_INPUT", f"{file}: line {number} is not JSON") from exc


def broken(sequence: int, what: str) -> OpenNGTError:
    return OpenNGTError("AUDIT_BROKEN", f"row {sequence} {what}", {"sequence": sequence})


def row_of(values: Json) -> "AuditRow":
    from ..store.audit import AuditRow  # brings the database's libraries along, which other commands do without

    try:
        return AuditRow(**{**values, "at": datetime.datetime.fromisoformat(values["at"])})
    except (KeyError, TypeError, ValueError) as exc:
        raise OpenNGTError("INVALID_INPUT", "a line is not a row of the audit log") from exc


def verify_chain(rows: Iterable[Json], until: Json | None = None) -> tuple[int, Json]:
    """How many rows follow one another from the first on, and the last one's number and hash.

    Rows after `until` are left out: they were added while the log was read. AUDIT_BROKEN names the first bad row.
    """
    sequence, previous = 0, FIRST_FOLLOWS
    for values in rows:
        if until is not None and sequence == until["sequence"]:
            break
        row = row_of(values)
        if row.sequence != sequence + 1:
            raise broken(sequence + 1, "is missing")
        if row.previous != previous:
            raise broken(row.sequence, "does not follow the row before it")
        if row.hash != row.expected_hash():
            raise broken(row.sequence, "was altered")
        sequence, previous = row.sequence, row.hash
    return sequence, {"sequence": sequence, "hash": previous}
