"""Terms that several layers use are defined once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CODE = Path(__file__).parents[2] / "ruter_dagster"


@pytest.mark.parametrize(
    "definition", [r"^CarryOverMode =", r"^def vehicle_type\(", r'"\{\} of \{\} places"', r"^MODES ="]
)
def test_term_is_defined_once(definition: str) -> None:
    definitions = [
        (path, line)
        for path in CODE.rglob("*.py")
        for line in re.findall(f"{definition}.*", path.read_text(), re.MULTILINE)
    ]
    assert len(definitions) == 1, definitions
