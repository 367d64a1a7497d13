# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What became of a customization, asked in the guest itself: the agent's reader, for a guest that may have no agent."""

from ..agent.cloud_init import STATES, read

__all__ = ["STATES", "read"]
