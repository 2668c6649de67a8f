"""The guard of stage and prod covers each module of the stack."""

from __future__ import annotations

import re

from tests.terraform.terraform import ROOT


def test_guard_depends_on_every_module_of_the_stack() -> None:
    modules = {
        name
        for file in (ROOT / "stack").glob("*.tf")
        for name in re.findall(r'^module "(\w+)"', file.read_text(), re.MULTILINE)
    }
    guarded = re.findall(r"^    module\.(\w+),$", (ROOT / "stack" / "guard.tf").read_text(), re.MULTILINE)
    assert set(guarded) == modules, "add the module to depends_on of guard.tf"
