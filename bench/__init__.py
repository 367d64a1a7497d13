# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks: each file offers `rows()`, which measures us and a named peer in the same run."""
