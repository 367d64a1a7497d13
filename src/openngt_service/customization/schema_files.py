# SPDX-License-Identifier: GPL-3.0-or-later
"""cloud-init's published schemas, from the files in `schemas/`; `SOURCE.md` there says which version they are of."""

import json
from functools import cache
from importlib import resources
from typing import Any

from openngt.customization.schemas import Schemas

__all__ = ["published_schemas"]


@cache
def published_schemas() -> Schemas:
    return Schemas(_read("schema-cloud-config-v1.json"), _read("schema-network-config-v2.json"))


def _read(name: str) -> Any:
    return json.loads((resources.files(__package__) / "schemas" / name).read_text(encoding="utf-8"))
