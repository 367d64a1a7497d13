# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest is read as what a stranger made: exactly right, or DISC_INVALID."""

import contextlib
import datetime
import json
import random
import resource
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openngt.errors import OpenNGTError
from openngt.iso.layout import MOST_FILES
from openngt.iso.manifest import FileEntry, Manifest, canonical_json, parse_json_object, parse_manifest

CREATED = datetime.datetime(2026, 11, 21, 7, 0, 0, tzinfo=datetime.UTC)
SHA = "ab" * 32

GOOD = Manifest(
    vm_uuid="6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21",
    ngt_uuid="0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c",
    cluster_uuid="c1a57e12-0000-4000-8000-00000000c1a5",
    generation=3,
    kind="tools",
    ngt_version="0.1.0",
    created=CREATED,
    expires=CREATED + datetime.timedelta(days=1),
    ca_sha256=SHA,
    files=tuple(
        FileEntry(path, 5, SHA)
        for path in ("agent/ngt_agent.pyz", "config/ca.pem", "config/ngt_config.json", "extras/tool.msi")
    ),
)


GOOD_BYTES = GOOD.to_bytes()


def values() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(GOOD_BYTES)
    return parsed


def test_what_is_written_is_canonical_and_read_back_the_same() -> None:
    content = GOOD.to_bytes()
    assert content == canonical_json(json.loads(content))
    assert parse_manifest(content) == GOOD
    assert json.loads(content)["created"] == "2026-11-21T07:00:00Z"


def test_unknown_fields_are_ignored_so_that_a_later_version_may_add_some() -> None:
    assert parse_manifest(canonical_json({**values(), "new": {"field": [1]}})) == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "openngt-manifest-2"),
        ("format", None),
        ("vm_uuid", "6F1C0C2E-9D3A-4D0E-8A55-0C6A1F0B7E21"),
        ("vm_uuid", "6f1c0c2e9d3a4d0e8a550c6a1f0b7e21"),
        ("vm_uuid", "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21\n"),
        ("ngt_uuid", 7),
        ("cluster_uuid", ["c1a57e12-0000-4000-8000-00000000c1a5"]),
        ("generation", 0),
        ("generation", -1),
        ("generation", True),
        ("generation", "3"),
        ("generation", None),
        ("kind", "toolsx"),
        ("kind", ["tools"]),
        ("ngt_version", ""),
        ("ngt_version", "../0.1.0"),
        ("ngt_version", "1" * 65),
        ("created", "2026-11-21T07:00:00+00:00"),
        ("created", "2026-13-41T07:00:00Z"),
        ("created", "٢٠٢٦-11-21T07:00:00Z"),
        ("expires", "2026-11-21T07:00:00Z"),
        ("expires", "2025-11-21T07:00:00Z"),
        ("expires", 1795244400),
        ("ca_sha256", "AB" * 32),
        ("ca_sha256", "ab" * 31),
        ("files", None),
        ("files", {}),
        ("files", []),
        ("files", [None]),
        ("files", ["agent/ngt_agent.pyz"]),
    ],
)
def test_each_field_has_one_form_and_its_refusal_names_it(field: str, value: object) -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse_manifest(canonical_json({**values(), field: value}))
    assert caught.value.code == "DISC_INVALID"
    assert caught.value.details["field"].startswith(field)


@pytest.mark.parametrize("field", sorted(values()))
def test_no_field_may_be_missing(field: str) -> None:
    left = {name: value for name, value in values().items() if name != field}
    with pytest.raises(OpenNGTError) as caught:
        parse_manifest(canonical_json(left))
    assert (caught.value.code, caught.value.details) == ("DISC_INVALID", {"field": field})


HOSTILE_PATHS = [
    "", "/", "/etc/passwd", "//etc/passwd", "..", "../x", "a/../../x", "extras/..", "extras/../../etc/cron.d/x",
    "./x", "extras/./x", "extras//x", "extras/", "extras/x/", "extras\\..\\x", "..\\x", "C:\\x", "C:x", "c:/x",
    "\\\\host\\share", "extras/x\0", "extras/x\0.txt", "extras/\n", "extras/\x1b[2J", "extras/\x7f", "extras/a:b",
    "extras/a*", "extras/a?", 'extras/a"', "extras/<a>", "extras/a|b", "extras/x.", "extras/x ", "extras/...",
    "extras/" + "a" * 65, "/".join("abcdefghi"), "a" * 5000, "manifest.json", "MANIFEST.JSON", "config/client.pem",
    "Config/Client.pem", "config/CA.pem", "AGENT/ngt_agent.pyz", "config", "config/ca.pem/x", "manifest.json/x",
    "extras/tool.msi/x", "extras", "extras/TOOL.msi", "extras/tool.msi", "\u017ftra\u017f/x\0",
    "con\ufb01g/client.pem",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=ascii)
def test_hostile_paths_are_refused(path: str) -> None:
    hostile = values()
    hostile["files"] = sorted(
        [*hostile["files"], {"path": path, "size": 1, "sha256": SHA}], key=lambda row: row["path"]
    )
    with pytest.raises(OpenNGTError) as caught:
        parse_manifest(canonical_json(hostile))
    assert (caught.value.code, caught.value.details["field"]) == ("DISC_INVALID", "files")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"path": None}, "files[3].path"),
        ({"path": 1}, "files[3].path"),
        ({"path": "extras/\ud800"}, "files"),
        ({"size": -1}, "files[3].size"),
        ({"size": "5"}, "files[3].size"),
        ({"size": False}, "files[3].size"),
        ({"sha256": "ab"}, "files[3].sha256"),
        ({"sha256": None}, "files[3].sha256"),
    ],
)
def test_hostile_rows_are_refused(row: dict[str, object], field: str) -> None:
    hostile = values()
    hostile["files"][3].update(row)
    with pytest.raises(OpenNGTError) as caught:
        parse_manifest(json.dumps(hostile).encode())
    assert (caught.value.code, caught.value.details["field"]) == ("DISC_INVALID", field)


def change_order(value: dict[str, Any]) -> None:
    value["files"].reverse()


def claim_a_large_agent(value: dict[str, Any]) -> None:
    value["files"][0]["size"] = 64 * 1024 * 1024 + 1


def claim_a_large_slot(value: dict[str, Any]) -> None:
    value["files"][1]["size"] = 8193


def leave_the_ca_out(value: dict[str, Any]) -> None:
    del value["files"][1]


def carry_an_agent_on_a_config_disc(value: dict[str, Any]) -> None:
    value["kind"] = "config"


def name_too_many_files(value: dict[str, Any]) -> None:
    value["files"] = [{}] * (MOST_FILES + 1)


@pytest.mark.parametrize(
    "change",
    [
        change_order, claim_a_large_agent, claim_a_large_slot, leave_the_ca_out, carry_an_agent_on_a_config_disc,
        name_too_many_files,
    ],
)  # fmt: skip
def test_lists_that_contradict_the_format_are_refused(change: Callable[[dict[str, Any]], None]) -> None:
    hostile = values()
    change(hostile)
    with pytest.raises(OpenNGTError) as caught:
        parse_manifest(canonical_json(hostile))
    assert (caught.value.code, caught.value.details["field"]) == ("DISC_INVALID", "files")


@pytest.mark.parametrize(
    "content",
    [
        b"", b" ", b"null", b"[]", b"3", b'"x"', b"{", b"{}x", b"{}{}", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0",
        b'{"a":"\xff"}',
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1.0}', b'{"a":1e9}', b'{"a":1e999999}',
        b'{"a":' + b"9" * 19 + b"}", b'{"a":-' + b"9" * 5000 + b"}", b'{"a":1,"a":1}', b'{"a":{"b":1,"b":1}}',
        b'{"a":"' + b"x" * 32768 + b'"}', b"[" * 30000, b'{"a":' * 6000, b'{"a":"\x00"}', b"{'a':1}", b'{"a":1,}',
        b'{"a":01}', b'{"a":tru}', b'{"a":"\\u12"}', b'{"a":"\\x41"}', b'{"a":' + b"[" * 20 + b"]" * 20 + b"}",
    ],
    ids=lambda content: ascii(content[:24]),
)  # fmt: skip
def test_what_is_not_plain_json_is_refused(content: bytes) -> None:
    with pytest.raises(OpenNGTError) as caught:
        parse_json_object(content, "manifest.json", 32768)
    assert caught.value.code == "DISC_INVALID"


def test_brackets_inside_text_do_not_count_as_depth() -> None:
    text = '[{\\"' * 99
    assert parse_json_object(f'{{"a":"{text}"}}'.encode(), "x", 32768) == {"a": '[{"' * 99}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ngt_uuid": "X"}, "INVALID_INPUT"),
        ({"expires": CREATED}, "INVALID_INPUT"),
        ({"files": tuple(FileEntry(f"extras/{n:03}", 1, SHA) for n in range(400))}, "ISO_TOO_LARGE"),
    ],
)
def test_nothing_is_written_that_would_not_be_read(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        replace(GOOD, **changes).to_bytes()
    assert caught.value.code == code


SCRAPS = [
    None, True, False, 0, -1, 2**63, 10**30, 1.5, float("nan"), "", "x", "..", "\0", "\ud800", "a" * 4000, [], {}, [[]],
    {"path": "x"}, "2026-11-21T07:00:00Z", "config/ca.pem", SHA, ["config/ca.pem"] * 600,
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A good manifest with a few things wrong: values, keys, order, or bytes."""
    value = values()
    for _ in range(chance.randint(0, 3)):
        rows = value.get("files")
        places = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        place = chance.choice([value, *places])
        key = chance.choice([*place, "other"]) if place else "other"
        match chance.randrange(4):
            case 0:
                place.pop(key, None)
            case 1:
                place[key] = chance.choice(SCRAPS)
            case 2 if isinstance(value.get("files"), list):
                value["files"] = chance.choice([value["files"] * 2, value["files"][::-1], [*value["files"], SHA]])
            case _:
                place[key] = {str(key): place.get(key)}
    content = bytearray(json.dumps(value).encode())
    for _ in range(chance.choice([0, 0, 1, 5])):
        at = chance.randrange(len(content))
        match chance.randrange(3):
            case 0:
                content[at] = chance.randrange(256)
            case 1:
                del content[at : at + chance.randrange(40)]
            case _:
                content[at:at] = bytes(content[chance.randrange(len(content)) :][: chance.randrange(40)])
    return bytes(content)


def parse_or_refuse(content: bytes) -> bool:
    """Any other outcome than a manifest or DISC_INVALID is an exception that fails the test."""
    try:
        manifest = parse_manifest(content)
    except OpenNGTError as exc:
        assert exc.code == "DISC_INVALID", exc
        assert len(exc.message) < 700, "a message must not grow with what a stranger wrote"
        return False
    assert parse_manifest(manifest.to_bytes()) == manifest
    return True


def test_50_000_mutations_are_read_or_refused_in_bounded_memory() -> None:
    chance = random.Random(20261121)
    outcomes = [parse_or_refuse(mutated(chance)) for _ in range(2_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes += [parse_or_refuse(mutated(chance)) for _ in range(48_000)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert 1_000 < sum(outcomes) < 49_000, "mutations that all pass, or all fail, test nothing"
    assert grown < 16 * 1024, f"grew by {grown} KiB"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(sorted(values())), inner),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.binary(max_size=300) | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_input_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        parse_or_refuse(content)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 32768, b'{"a":' * 6553, b'"' * 32767, b"\\" * 32768, b'{"a":"' + b"\\u0041" * 5000, b'"\\' * 16384,
        b'"a' * 16384, b"\\\"" * 16384, b'"\n' * 16384, b"9" * 32768, b'{"a":"' + b"/" * 32000 + b'"}',
    ],
    ids=lambda content: ascii(content[:12]),
)  # fmt: skip
def test_the_worst_of_the_largest_cost_little(content: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    tracemalloc.start()
    try:
        assert not parse_or_refuse(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert peak < 4 * 1024 * 1024
    # CPU seconds of this process, not the clock's: quadratic work on 32 KiB would take minutes.
    assert after.ru_utime - before.ru_utime < 2
