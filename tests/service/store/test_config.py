# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: one file, the environment, and errors that name the key."""

from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.config import load_settings


def problems(call: Any) -> dict[str, str]:
    with pytest.raises(OpenNGTError) as failure:
        call()
    assert failure.value.code == "CONFIG_INVALID"
    return {problem["key"]: problem["message"] for problem in failure.value.details["problems"]}


def test_the_guests_names_of_the_port_are_a_list_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().serial_ports == ["/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1"]
    monkeypatch.setenv("OPENNGT_SERIAL_PORTS", "/dev/ttyS3, /dev/ttyS1")
    assert load_settings().serial_ports == ["/dev/ttyS3", "/dev/ttyS1"]
    monkeypatch.setenv("OPENNGT_SERIAL_PORTS", "")
    assert load_settings().serial_ports == []
    for wrong in ("ttyS1", "/etc/passwd", "/dev/../etc/passwd", ",".join(["/dev/ttyS1"] * 5)):
        monkeypatch.setenv("OPENNGT_SERIAL_PORTS", wrong)
        with pytest.raises(OpenNGTError) as caught:
            load_settings()
        assert [problem["key"] for problem in caught.value.details["problems"]] == ["serial_ports"]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "openngt.toml"
    file.write_text('cluster_ip = "192.0.2.1"\napi_port = 1\ngateway_port = 1\n[gateway]\nhandshake_seconds = 2\n')
    monkeypatch.setenv("OPENNGT_API_PORT", "2")
    monkeypatch.setenv("OPENNGT_GATEWAY_PORT", "2")
    monkeypatch.setenv("OPENNGT_API_NAMES", "ngt.example.org, 192.0.2.9")
    settings = load_settings(file, {"gateway_port": 3})
    assert (settings.cluster_ip, settings.api_port, settings.gateway_port) == ("192.0.2.1", 2, 3)
    assert settings.api_names == ["ngt.example.org", "192.0.2.9"]
    assert (settings.gateway.handshake_seconds, settings.gateway.first_frame_seconds) == (2.0, 5.0)


def test_every_bad_key_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "openngt.toml"
    file.write_text('api_port = 70000\nkey_type = "dsa"\nvaliditydays = 5\ncluster_ip = "not a host"\nstate_dir = "x"')
    assert problems(lambda: load_settings(file)).keys() == {
        "api_port",
        "key_type",
        "validitydays",
        "cluster_ip",
        "state_dir",
    }


def test_a_password_in_the_database_url_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "openngt.toml"
    file.write_text('database_url = ["postgresql://ngt:canary-secret@db/ngt"]\n')
    with pytest.raises(OpenNGTError) as failure:
        load_settings(file)
    assert "canary-secret" not in str(failure.value.to_dict()) + str(failure.value)


@pytest.mark.parametrize("content", ["api_port = ", "\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "openngt.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(OpenNGTError) as failure:
        load_settings(file)
    assert failure.value.code == "CONFIG_INVALID" and str(file) in failure.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OpenNGTError) as failure:
        load_settings(tmp_path / "none.toml")
    assert failure.value.code == "CONFIG_INVALID" and "none.toml" in failure.value.message


def test_serving_needs_the_address_that_agents_are_told(tmp_path: Path) -> None:
    assert problems(lambda: load_settings(None).for_serving()).keys() == {"cluster_ip"}
    missing = load_settings(None, {"cluster_ip": "ngt.example.org", "payload_extras": tmp_path / "none"})
    assert problems(missing.for_serving).keys() == {"payload_extras"}
    (tmp_path / "python.zip").write_bytes(b"no zip")
    other = load_settings(None, {"cluster_ip": "ngt.example.org", "windows_python": tmp_path / "python.zip"})
    assert problems(other.for_serving).keys() == {"windows_python"}
    settings = load_settings(None, {"cluster_ip": "ngt.example.org", "state_dir": tmp_path})
    assert settings.for_serving().database == f"sqlite:///{tmp_path}/openngt.db"
