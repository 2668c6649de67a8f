"""Progress of a command: a bar in a terminal, and lines elsewhere, because a log shows a bar only at its end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as show_bar

T = TypeVar("T")
_LINES = 10


def track(items: Iterable[T], title: str, total: int, console: Console) -> Iterator[T]:
    """Yields the items. In a terminal a bar shows how many of `total` are done; elsewhere about ten lines do, each with the time."""
    if console.is_terminal:
        yield from show_bar(items, title, total=total, console=console)
        return
    started, step = time.monotonic(), max(1, total // _LINES)
    console.print(f"{title}: 0 of {total}", highlight=False)
    for number, item in enumerate(items, start=1):
        yield item
        if number % step == 0 or number == total:
            seconds = time.monotonic() - started
            console.print(f"{title}: {number} of {total}, {seconds:.0f} s", highlight=False)
