"""The function of `scripts/cloud/sandbox_id`, a command without an ending of Python's."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "scripts" / "cloud" / "sandbox_id"


def _load() -> ModuleType:
    loader = SourceFileLoader("sandbox_id", str(SCRIPT))
    spec = spec_from_loader("sandbox_id", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


_MODULE = _load()
sandbox_id = _MODULE.sandbox_id
tag = _MODULE.tag
