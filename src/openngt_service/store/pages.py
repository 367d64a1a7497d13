# SPDX-License-Identifier: GPL-3.0-or-later
"""What lists that come in pages have in common."""

from openngt.errors import OpenNGTError

__all__ = ["foreign_page_token"]


def foreign_page_token() -> OpenNGTError:
    """For a token that no list has handed out, or another list has."""
    return OpenNGTError("INVALID_INPUT", "page_token: give one that a list has returned")
