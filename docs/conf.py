# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx: guides in Markdown beside the pages that antsibull-docs writes from the plugins' own documentation."""

project = "openngt.guest_tools"
author = "openngt contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "furo"
html_title = project
html_show_sphinx = False
# Pages of Ansible itself are on another site that the build must not need.
suppress_warnings = ["ref.ref", "myst.xref_missing"]
