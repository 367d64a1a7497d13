# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines out of pieces, whatever the pieces."""

from hypothesis import given
from hypothesis import strategies as st

from openngt.install.transports.lines import TAIL_BYTES, Lines, Tail, printable

PIECES = st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"x", b"\n")), max_size=20)


def taken(lines: Lines) -> list[bytes]:
    return list(iter(lines.take, None))


@given(PIECES)
def test_lines_do_not_depend_on_how_they_came(pieces: list[bytes]) -> None:
    lines = Lines()
    found = []
    for piece in pieces:
        lines.feed(piece)
        found += taken(lines)
    lines.end()
    found += taken(lines)
    whole = b"".join(pieces)
    assert found == (whole.removesuffix(b"\n").split(b"\n") if whole else [])


@given(PIECES, PIECES)
def test_what_stands_before_a_mark_is_skipped_and_nothing_else(before: list[bytes], after: list[bytes]) -> None:
    lines = Lines()
    for piece in before:
        lines.feed(piece)
    assert not lines.skip_past(b"the mark")
    lines.feed(b"the ")
    lines.feed(b"mark\n" + b"".join(after))
    assert lines.skip_past(b"the mark")
    lines.end()
    whole = b"".join(after)
    assert taken(lines) == (whole.removesuffix(b"\n").split(b"\n") if whole else [])


@given(PIECES)
def test_the_tail_is_the_end(pieces: list[bytes]) -> None:
    tail = Tail()
    tail.feed(b"0" * TAIL_BYTES)
    for piece in pieces:
        tail.feed(piece)
    assert tail.text() == printable((b"0" * TAIL_BYTES + b"".join(pieces))[-TAIL_BYTES:])


@given(st.binary())
def test_what_is_printed_cannot_act_on_a_terminal(data: bytes) -> None:
    assert all(each.isprintable() or each in "\n\t" for each in printable(data))
