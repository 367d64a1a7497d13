# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far it is with each VM, which a module cannot."""

from __future__ import annotations

from ..plugin_utils.fleet_action import FleetAction


class ActionModule(FleetAction):
    pass
