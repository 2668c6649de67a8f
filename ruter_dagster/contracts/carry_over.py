"""How an operator may say whether loads are carried over from a trip to its vehicle's next."""

from typing import Literal

CarryOverMode = Literal["infer", "always", "never"]
