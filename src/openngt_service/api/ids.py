# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids that the service has made, in paths and queries, and what a caller is told of a text that is none."""

from pydantic import AfterValidator

from .models import TEXT, UUID

__all__ = ["ID", "MUST_BE", "Plain"]

ID = r"^[0-9a-f-]+$"

Plain = AfterValidator(lambda value: value.replace("-", ""))
"""For the id of a task or an alert, which some programs write with the hyphens of a UUID."""

MUST_BE = {
    ID: "give an id as the service has shown it",
    TEXT: "no control characters",
    UUID: "give a UUID in lower case with hyphens",
}
"""Pattern -> what a person is told who does not read patterns."""
