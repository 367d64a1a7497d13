# SPDX-License-Identifier: GPL-3.0-or-later
"""From a customization to what the VM's CD-ROM holds."""

from __future__ import annotations

from .cloud_init import build_cloud_init
from .cloudbase import build_cloudbase
from .model import FORMATS, Customization, Media, MediaVm
from .options import invalid
from .sysprep import build_sysprep

__all__ = ["build"]


def build(customization: Customization, vm: MediaVm, reporter: str | None = None) -> Media:
    """The media of one VM. `reporter` is a shell script that says at its end what became of the guest; none on Windows.

    Pure, and the same for the same arguments, so a digest of it tells whether there is anything to do. INVALID_INPUT
    names the field that does not do.
    """
    if customization.format == "cloud_init":
        return build_cloud_init(customization, vm, reporter)
    if customization.format == "sysprep":
        return build_sysprep(customization, vm)
    if customization.format == "cloudbase_init":
        return build_cloudbase(customization, vm)
    raise invalid("format", f"must be one of {', '.join(FORMATS)}")
