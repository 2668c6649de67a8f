"""Lets a new browser load the modules of tables, filters and charts together with Streamlit's program, not after the first data.

Streamlit's page names the modules of its program only. A browser would ask for the others once the first table arrives. The header
`Link` names them before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import streamlit
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ELEMENTS = (
    "Selectbox",
    "Metric",
    "DataFrame",
    "DownloadButton",
    "Html",
    "ArrowVegaLiteChart",
    "loadVegaEmbed",
)
"""Modules of the elements that the pages draw, by the first part of their file names."""
_IMPORTED = re.compile(r"""(?:from|import\(?)\s*["'`]\./([\w.-]+\.js)["'`]""")
_OF_PROGRAM = re.compile(r"/js/([\w.-]+\.js)")


def streamlit_files() -> Path:
    """The folder with Streamlit's `index.html` and its modules."""
    return Path(streamlit.__file__).parent / "static"


def element_modules(folder: Path) -> list[str]:
    """The file names of the elements' modules and of all that they import, without those that `index.html` names.

    Empty if Streamlit has another layout of its files: then a browser loads the modules later.
    """
    index, modules = folder / "index.html", folder / "static" / "js"
    if not index.is_file() or not modules.is_dir():
        return []
    known = set(_OF_PROGRAM.findall(index.read_text(encoding="utf-8")))
    first = [path.name for element in ELEMENTS for path in sorted(modules.glob(f"{element}.*.js"))]
    return list(dict.fromkeys(_with_imports(modules, first, known)))


def _with_imports(folder: Path, names: Collection[str], known: set[str]) -> Iterator[str]:
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in known or not (folder / name).is_file():
            continue
        known.add(name)
        yield name
        waiting += _IMPORTED.findall((folder / name).read_text(encoding="utf-8"))


class PreloadModules:
    """ASGI middleware that adds the header `Link` to pages. The modules have a low priority: the program itself is needed first."""

    def __init__(self, app: ASGIApp, modules: Collection[str]) -> None:
        self._app = app
        links = (f"</static/js/{name}>; rel=modulepreload; fetchpriority=low" for name in modules)
        self._header = (b"link", ", ".join(links).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_links(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                message = {**message, "headers": [*message["headers"], self._header]}
            await send(message)

        await self._app(scope, receive, send_with_links if self._header[1] else send)


def _is_page(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and b"text/html" in value for name, value in message["headers"]
    )
