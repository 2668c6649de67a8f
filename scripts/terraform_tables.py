"""Writes the tables of inputs and outputs into the README of each Terraform folder, from its variables and outputs.

Run it after a change of a variable or output. With --check it changes nothing, and fails if a README is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

TERRAFORM = Path(__file__).parents[1] / "terraform"
_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_DESCRIPTION = re.compile(r'^ +description += "((?:[^"\\]|\\.)*)"', re.MULTILINE)
_DEFAULT = re.compile(r"^  default += (.+)$", re.MULTILINE)
_SECTIONS = {"inputs": "variable", "outputs": "output"}


def folders() -> list[Path]:
    """The folders of terraform/ that have variables or outputs, in alphabetical order."""
    return sorted({file.parent for file in TERRAFORM.rglob("*.tf") if ".terraform" not in file.parts})


def readme(folder: Path) -> str:
    """The README of a folder with the tables that follow from its code."""
    text = (folder / "README.md").read_text()
    for section, kind in _SECTIONS.items():
        start, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
        if start not in text:
            raise ValueError(f"{folder / 'README.md'} has no line {start}. Add it, and a line {end}.")
        before, rest = text.split(start)
        text = f"{before}{start}\n\n{table(folder, kind)}\n\n{end}{rest.split(end)[1]}"
    return text


def table(folder: Path, kind: str) -> str:
    """A Markdown table of the folder's variables or outputs, `None.` without any."""
    code = "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))
    rows = [_row(name, body, kind) for found, name, body in _BLOCK.findall(code) if found == kind]
    if not rows:
        return "None."
    header = ["| name | default | meaning |", "|---|---|---|"]
    return "\n".join([*(header if kind == "variable" else ["| name | meaning |", "|---|---|"]), *rows])


def _row(name: str, body: str, kind: str) -> str:
    described = _DESCRIPTION.search(body)
    meaning = described.group(1).replace("$${", "${").replace("|", "\\|") if described else ""
    if kind == "output":
        return f"| `{name}` | {meaning} |"
    default = _DEFAULT.search(body)
    return f"| `{name}` | {f'`{default.group(1)}`' if default else 'required'} | {meaning} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail if a README is out of date, and change nothing"
    )
    outdated = [folder for folder in folders() if (folder / "README.md").read_text() != readme(folder)]
    if parser.parse_args().check and outdated:
        names = ", ".join(folder.name for folder in outdated)
        sys.exit(f"README out of date: {names}. Run .venv/bin/python scripts/terraform_tables.py")
    for folder in outdated:
        (folder / "README.md").write_text(readme(folder))


if __name__ == "__main__":
    main()
