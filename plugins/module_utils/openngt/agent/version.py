# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's version, its own so that the agent imports nothing of its siblings; a test compares it with theirs."""

__all__ = ["__version__"]

__version__ = "0.1.0"
