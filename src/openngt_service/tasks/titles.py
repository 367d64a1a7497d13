# SPDX-License-Identifier: GPL-3.0-or-later
"""What each kind of task is called where people look at it; the first two as they know them."""

__all__ = ["TITLES"]

TITLES = {
    "refresh": "Refreshing NGT certificates",
    "mount": "Mounting Nutanix Guest Tools iso image to VM",
    "clone": "Giving a clone its own identity",
    "recover": "Giving a reverted VM a new identity",
    "eject": "Ejecting Nutanix Guest Tools iso image from VM",
    "rotate": "Replacing the ISO's certificate by the long-lived one",
    "health": "Health check",
    "power": "Switching VM",
    "fleet_power": "Switching VMs",
    "fleet_refresh": "Refreshing NGT certificates of VMs",
    "upgrade": "Upgrading NGT on VM",
    "customize": "Customizing VM",
    "withdraw": "Withdrawing the customization of VM",
    "fleet_upgrade": "Upgrading NGT on VMs",
}
