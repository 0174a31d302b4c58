"""Names in stored data of older versions, and their present names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLD_PROVENANCE = "passport"
"""`Episode.provenance` in files before format 3, in journals and in exports of that time."""
OLD_TRIG_ATTRIBUTE = f"{OLD_PROVENANCE}.dialect"
"""`Episode.trig` in files of format 1."""
OLD_TRIG = "glibc-fma"
"""`Episode.trig` of all episodes that were stored before episodes named it."""
OLD_UNITS = "units_per_metre"
"""Root attribute `units_per_meter` in files before format 3."""


def with_todays_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Rename old fields of an episode from JSON. An episode without `trig` gets OLD_TRIG."""
    fields = {"trig": OLD_TRIG} | dict(fields)
    if OLD_PROVENANCE in fields and "provenance" not in fields:
        fields["provenance"] = fields.pop(OLD_PROVENANCE)
    return fields
