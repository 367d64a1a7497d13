# SPDX-License-Identifier: GPL-3.0-or-later
"""The one version of library, service and agent; galaxy.yml and pyproject.toml repeat it and a test compares them."""

__version__ = "0.1.0"
