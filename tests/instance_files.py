"""The variables that a dagster.yaml reads, and those that Terraform sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]


def variables_of(file: Path) -> set[str]:
    """The variables that a dagster.yaml names as `{env: NAME}`."""
    return set(_variables(yaml.safe_load(file.read_text())))


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"env"}:
            yield value["env"]
        for part in value.values():
            yield from _variables(part)
    elif isinstance(value, list):
        for part in value:
            yield from _variables(part)


def variables_of_terraform() -> set[str]:
    """The variables of Dagster's containers in terraform/modules/dagster, the one with a password too."""
    text = (ROOT / "terraform/modules/dagster/main.tf").read_text()
    block = re.search(r"environment = merge\(var\.environment, \{(.*?)\n  \}\)", text, re.DOTALL)
    assert block
    own = re.findall(r"(?m)^\s+([A-Z][A-Z_]+)\s+=", block[1])
    return {*own, *re.findall(r'secrets\s+= \[\{ name = "(\w+)"', text)}
