# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far an upgrade is with each VM: the service answers for it as for a refresh."""

from __future__ import annotations

from .refresh import ActionModule

__all__ = ["ActionModule"]
