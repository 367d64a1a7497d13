# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers laid out as the original's tools do, so that a script that reads those reads these. Pure.

Source: the outputs printed in the vendor's Japanese guide to its guest tools; what that does not show is ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["entity_lines", "ngt_lines", "vm_list_lines"]

Json = Mapping[str, Any]


def said(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def ngt_lines(records: Iterable[Json], cluster_uuid: str) -> list[str]:
    """`ncli ngt list`: a block for each VM."""
    lines: list[str] = []
    for record in records:
        rows = {
            "VM Id": f"{cluster_uuid}::{record['vm_uuid']}",
            "VM Name": record["vm_name"],
            "NGT Enabled": record["ngt_enabled"],
            "Tools ISO Mounted": record["tools_iso_mounted"],
            "Vss Snapshot": record["vss_snapshot"],
            "File Level Restore": record["self_service_restore"],
            "Communication Link Active": record["communication_link_active"],
        }
        width = max(map(len, rows))
        lines += ["", *(f"    {title:<{width}} : {said(value)}" for title, value in rows.items())]
    return lines


def entity_lines(record: Json, *, with_vm_info: bool) -> list[str]:
    """`nutanix_guest_tools_cli list_vm_tools_entities`: `key: value`, what grep is used on."""
    certificate = record["certificate"] or {}
    rows = {
        "vm_uuid": record["vm_uuid"],
        "vm_name": record["vm_name"],
        "ngt_uuid": record["ngt_uuid"],
        "ngt_enabled": record["ngt_enabled"],
        "tools_iso_mounted": record["tools_iso_mounted"],
        "vss_snapshot_enabled": record["vss_snapshot"],
        "file_level_restore_enabled": record["self_service_restore"],
        "communication_link_active": record["communication_link_active"],
        "communication_type": record["communication_type"],
        "communication_link_over_serial_port_active": record["communication_link_over_serial_port_active"],
        "installed_version": record["agent_version"],
        "available_version": record["available_version"],
        "client_cert_expiry_date": certificate.get("not_after"),
    }
    info = record["vm_info"] or {} if with_vm_info else {}
    # The guest's own words come after ours and stand in for none of them.
    flat = {key: value for key, value in info.items() if not isinstance(value, list | dict) and key not in rows}
    lines = [f"{key}: {said(value)}" for key, value in {**rows, **flat}.items()]
    return lines + [interface_line(interface) for interface in objects(info.get("network_interfaces"))]


def interface_line(interface: Json) -> str:
    addresses = [*objects(interface.get("ipv4")), *objects(interface.get("ipv6"))]
    shown = [interface.get("interface"), interface.get("mac_address"), *(one.get("ip_address") for one in addresses)]
    return " ".join(["network_interface:", *map(str, shown)])


def objects(value: Any) -> list[Json]:
    """Those in what should be a list of objects; a guest may say anything."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def vm_list_lines(vms: Sequence[Json]) -> list[str]:
    """`acli vm.list`."""
    width = max([len("VM name"), *(len(vm["vm_name"]) for vm in vms)])
    return [f"{'VM name':<{width}}  VM UUID", *(f"{vm['vm_name']:<{width}}  {vm['vm_uuid']}" for vm in vms)]
