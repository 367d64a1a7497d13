# SPDX-License-Identifier: GPL-3.0-or-later
"""The scanner is shown to find a canary in each form before anybody trusts its zero."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.canary.scanner import FORMS, scan_bytes, scan_tree

SECRET = 'cana/ry+"p\\w=&ü-7f3a'
WRITTEN = {
    "plain": SECRET.encode(),
    "base64": base64.b64encode(SECRET.encode()),
    "url": quote(SECRET, safe="").encode(),
    "json": json.dumps({"password": SECRET}).encode(),
    "utf-16-le": SECRET.encode("utf-16-le"),
    "utf-16-be": SECRET.encode("utf-16-be"),
}


@pytest.mark.parametrize("form", FORMS)
def test_finds_each_form_inside_other_text(form: str) -> None:
    hits = scan_bytes(b"before " + WRITTEN[form] + b" after", {"token": SECRET}, "stdout")
    assert form in {hit.form for hit in hits}


@pytest.mark.parametrize("lead", range(6))
def test_finds_base64_at_every_alignment(lead: int) -> None:
    encoded = base64.b64encode(b"x" * lead + SECRET.encode() + b"tail")
    assert [hit.form for hit in scan_bytes(encoded, {"token": SECRET}, "stdout")] == ["base64"]


def test_finds_windows_encoded_command() -> None:
    encoded = base64.b64encode(f"net use {SECRET}".encode("utf-16-le"))
    assert scan_bytes(encoded, {"token": SECRET}, "stdout")


def test_clean_text_has_no_hits() -> None:
    assert scan_bytes(b"cana/ry is a bird", {"token": SECRET}, "stdout") == []


def test_tree_reports_files_and_names_and_spares_the_allowed(tmp_path: Path) -> None:
    secret = "canary-0123456789"
    (tmp_path / "log").mkdir()
    (tmp_path / "log/service.log").write_text(f"token={secret}")
    (tmp_path / f"{secret}.txt").write_text("")
    keep = tmp_path / "admin.token"
    keep.write_text(secret)
    hits = scan_tree(tmp_path, {"token": secret}, frozenset({keep}))
    assert {hit.where for hit in hits} == {"log/service.log", f"name of {secret}.txt"}
