"""The settings by which an operator decides whether passengers stay on board between a vehicle's trips."""

from typing import Literal

CarryOverMode = Literal["infer", "always", "never"]
