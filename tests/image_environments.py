"""Environments of the images: the image's lock and its wheels in a clean environment, as its Dockerfile installs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Image:
    """The environment of an image, in a folder of the test."""

    name: str
    folder: Path

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def packages(self) -> Path:
        return next(self.venv.glob("lib/python3.*/site-packages"))

    def start_command(self, instruction: str) -> list[str]:
        """The words of the Dockerfile's ENTRYPOINT or CMD."""
        match = re.search(rf"(?m)^{instruction} (\[.*\])$", _dockerfile(self.name))
        assert match
        return json.loads(match[1])

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a container: none of the person's who runs the tests."""
        path = f"{self.venv / 'bin'}:{os.environ['PATH']}"
        return {
            "PATH": path,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RUTER_COMMIT": "abc123",
            **variables,
        }

    def command(self, *words: str) -> list[str]:
        return [str(self.venv / "bin" / words[0]), *words[1:]]

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment(**variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )


def build(name: str, folder: Path, *more_locks: Path) -> Image:
    """Installs the image's lock, further locks and the wheels that its Dockerfile builds into a clean environment."""
    image, tools = Image(name, folder), folder / "tools" / "bin"
    lock = shutil.copy(ROOT / f"requirements-{name}.lock", folder / "requirements.lock")
    install = (tools / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", image.venv)
    _execute(sys.executable, "-m", "venv", folder / "tools")
    _execute(
        tools / "pip", "install", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "-r", ROOT / "requirements-build.lock",
    )  # fmt: skip
    _execute(tools / "uv", "venv", "--quiet", "--python", tools / "python", image.venv)
    _execute(*install, "--require-hashes", "--only-binary=:all:", "-r", lock)
    for more in more_locks:
        _execute(*install, "--require-hashes", "--only-binary=:all:", "-r", more)
    _execute(*install, "--no-deps", *_build_wheels(name, folder / "sources", tools))
    shutil.copy(lock, image.packages)
    return image


def _build_wheels(name: str, sources: Path, tools: Path) -> list[Path]:
    """Runs the build commands of the image's Dockerfile on the files that it copies. Returns the wheels."""
    text = _dockerfile(name)
    for copy in re.findall(r"(?m)^COPY (?!--from)(.*) \./\S*$", text):
        for source in copy.split():
            _copy_source(source, sources)
    commands = re.findall(r"(?:uv|python -m hatchling) build[^&]*", text)
    assert commands
    for command in commands:
        _execute(*command.split(), cwd=sources, PATH=f"{tools}:{os.environ['PATH']}")
    return list((sources / "dist").glob("*.whl"))


def _copy_source(source: str, folder: Path) -> None:
    (folder / source).parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / source, folder / source)


def _dockerfile(name: str) -> str:
    """The text of a Dockerfile, with each instruction in one line."""
    return (ROOT / "docker" / f"{name}.Dockerfile").read_text().replace("\\\n", "")


def _execute(*command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(command, cwd=cwd, env=inherited | variables, check=True)
