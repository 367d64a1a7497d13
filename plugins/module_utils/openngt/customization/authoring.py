# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization's media as the file of a CD-ROM."""

from __future__ import annotations

import os
from pathlib import Path

from ..iso._unfinished import unfinished
from ..iso.volume import author
from .model import Media

__all__ = ["write_media"]


def write_media(media: Media, path: str, *, fsync: bool = True) -> None:
    """Put a volume of the media under `path`, complete or not at all, 0600 from its first byte.

    It survives a power cut; `fsync=False` leaves that to the caller. ISO 9660 with Joliet and Rock Ridge, files 0400;
    the same bytes for the same media. What killed writers leave has the name `.<name>.<8 hex>.partial`, which
    `openngt.iso` sweeps. INVALID_INPUT for a path or label that no disc takes; NO_SPACE, PERMISSION_DENIED and
    FILE_UNUSABLE name the file.
    """
    with unfinished(Path(path), fsync=fsync) as descriptor, os.fdopen(descriptor, "w+b", closefd=False) as stream:
        author(stream, {file.path: file.content for file in media.files}, label=media.label)
