"""Each command of the AWS CLI on a page or in a script names an operation of AWS, its parameters, and all that it requires.

botocore has the model from which the CLI makes its commands.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "scripts" / "cloud").iterdir())]
OF_THE_CLI = {("ecr", "get-login-password"), ("s3", "ls"), ("s3", "sync"), ("s3", "cp"), ("s3", "rm")}
"""Commands that are no operation of AWS."""
GLOBAL = {"query", "output", "region", "endpoint-url", "profile", "cli-input-json"}


def commands(text: str) -> list[list[str]]:
    """The words of each command. A substitution `$(…)` is one word, and its own command is in the list too."""
    text = re.sub(r"\\\n\s*", " ", text)
    substituted = []
    while inner := re.search(r"\$\(([^()]*)\)", text):
        substituted += _of_lines(inner[1])
        text = text[: inner.start()] + "SUBSTITUTED" + text[inner.end() :]
    return substituted + _of_lines(text)


def _of_lines(text: str) -> list[list[str]]:
    pattern = r"(?<![\w.-])aws ([a-z0-9-]+ [a-z0-9-]+(?:'[^']*'|\"[^\"]*\"|[^'\"`|;\n])*)"
    return [shlex.split(match, comments=True) for match in re.findall(pattern, text)]


@cache
def model(service: str) -> ServiceModel:
    name = {"s3api": "s3"}.get(service, service)
    return ServiceModel(Loader().load_service_model(name, "service-2"), service_name=name)


def faults(words: list[str]) -> list[str]:
    """What is wrong with a command."""
    service, operation, *rest = words
    if (service, operation) in OF_THE_CLI:
        return []
    if operation == "wait":
        waiters = Loader().load_service_model(service, "waiters-2")["waiters"]
        operation = xform_name(waiters[_by_name(waiters, rest.pop(0))]["operation"], "-")
    shape = model(service).operation_model(_by_name(model(service).operation_names, operation)).input_shape
    members = {xform_name(name, "-"): name for name in shape.members} if shape else {}
    options = [
        re.sub("^no-(?!.*=)", "", word[2:]) if word[2:] not in members else word[2:]
        for word in rest
        if word.startswith("--")
    ]
    required = [] if shape is None else shape.required_members
    by_the_cli = {name for name in required if shape.members[name].metadata.get("idempotencyToken")}  # type: ignore[union-attr]
    missing = {*required} - by_the_cli - {members.get(each) for each in options}
    return [f"--{each} is unknown" for each in options if each not in members.keys() | GLOBAL] + [
        f"{name} is missing" for name in missing
    ]


def _by_name(names: object, command: str) -> str:
    return next(name for name in names if xform_name(name, "-") == command)  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_exist(file: Path) -> None:
    wrong = {" ".join(words): faults(words) for words in commands(file.read_text())}
    assert {command: what for command, what in wrong.items() if what} == {}


def test_faults_of_a_command_are_seen() -> None:
    (command,) = commands("aws rds create-db-snapshot --db-instance-identifier rd-dev --snapshot x")
    assert faults(command) == ["--snapshot is unknown", "DBSnapshotIdentifier is missing"]
    assert (
        len(commands("Run `aws s3 ls` and\n    aws ecs wait tasks-stopped --tasks $(aws ecs list-tasks)"))
        == 3
    )
