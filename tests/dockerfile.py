"""Reads a Dockerfile, and does without Docker what its build stage does: same commands, same files, in folders of the test."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[1]
VENV = "/opt/venv"
"""Where the images keep the virtual environment."""


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def exec_form(self) -> list[str]:
        """The words of CMD or ENTRYPOINT; a ValueError where it is the shell form, which keeps signals from Python."""
        return json.loads(self.text)

    @property
    def copied(self) -> tuple[list[str], str]:
        """Sources and destination of a COPY."""
        *sources, destination = (word for word in self.text.split() if not word.startswith("--"))
        return sources, destination


@dataclass(frozen=True)
class Dockerfile:
    path: Path

    @cached_property
    def instructions(self) -> list[Instruction]:
        lines = [line for line in self.path.read_text().splitlines() if not line.lstrip().startswith("#")]
        text = re.sub(r"\\\n\s*", "", "\n".join(lines))
        return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]

    @cached_property
    def stages(self) -> dict[str, list[Instruction]]:
        """Instructions of each stage by its name, FROM the first; what stands before any stage is left out."""
        stages: dict[str, list[Instruction]] = {}
        for instruction in self.instructions:
            if instruction.name == "FROM":
                stages[instruction.text.rsplit(" AS ", 1)[1]] = []
            if stages:
                list(stages.values())[-1].append(instruction)
        return stages

    @property
    def image(self) -> list[Instruction]:
        """The last stage: what becomes the image."""
        return list(self.stages.values())[-1]

    def only(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]

    def variables(self, stage: list[Instruction]) -> dict[str, str]:
        """Variables that ENV sets in a stage."""
        pairs = [pair for one in stage if one.name == "ENV" for pair in one.text.split()]
        return dict(pair.split("=", 1) for pair in pairs)


@dataclass(frozen=True)
class Image:
    """What the build stage left, in a folder of the test."""

    dockerfile: Dockerfile
    folder: Path

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def packages(self) -> Path:
        return next(self.venv.glob("lib/python3.*/site-packages"))

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a container, and none of whoever runs the test but those without which nothing runs."""
        given = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        for name, value in self.dockerfile.variables(self.dockerfile.image).items():
            given[name] = Template(value.replace(VENV, str(self.venv))).safe_substitute(
                given, COMMIT="abc123"
            )
        return {**given, **variables}

    def command(self, *words: str) -> list[str]:
        """A command as the container finds it: on its own PATH first."""
        return [str(self.venv / "bin" / words[0]), *words[1:]]

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment(**variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )


def build(dockerfile: Dockerfile, folder: Path) -> Image:
    """Does what the stage `build` says, in a plain virtual environment for the base image, and with the caches of whoever runs the tests."""
    stage, context = dockerfile.stages["build"], folder / "build"
    context.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "base"], check=True)
    image = Image(dockerfile, folder)
    own = {"VENV": str(image.venv), "PATH": f"{folder / 'base' / 'bin'}:{os.environ['PATH']}"}
    slow = {"UV_NO_CACHE", "UV_LINK_MODE", "PIP_NO_CACHE_DIR"}
    kept = {name: value for name, value in dockerfile.variables(stage).items() if name not in slow}
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for instruction in stage:
        if instruction.name == "COPY":
            _copy(*instruction.copied, context)
        elif instruction.name == "RUN":
            subprocess.run(
                ["sh", "-ec", instruction.text], cwd=context, env={**inherited, **kept, **own}, check=True
            )
    return image


def _copy(sources: list[str], destination: str, folder: Path) -> None:
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, folder / destination, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        else:
            shutil.copy(ROOT / source, folder / destination)
