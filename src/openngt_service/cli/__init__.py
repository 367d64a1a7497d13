# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `openngt`."""

from .main import main

__all__ = ["main"]
