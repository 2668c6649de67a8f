"""Lets a new browser load the modules of tables, filters and charts together with Streamlit's program, not after the first data.

Streamlit's page names the modules of its program only. A browser would ask for the others once the first table arrives. The header
`Link` names the largest ones before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
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
MAX_HEADER_BYTES = 2_900
"""Bytes of the header `Link`. A proxy with a buffer of 4 kB, nginx's smallest default, has room for the other headers too."""
_IMPORTED = re.compile(r"""(?:from|import\(?)\s*["'`]\./([\w.-]+\.js)["'`]""")
_OF_PROGRAM = re.compile(r"/js/([\w.-]+\.js)")


def streamlit_files() -> Path:
    """The folder with Streamlit's `index.html` and its modules."""
    return Path(streamlit.__file__).parent / "static"


def element_modules(folder: Path) -> list[str]:
    """The file names of the elements' modules and of all that they import, without those that `index.html` names, the largest first.

    Empty if Streamlit has another layout of its files: then a browser loads the modules later.
    """
    index, modules = folder / "index.html", folder / "static" / "js"
    if not index.is_file() or not modules.is_dir():
        return []
    known = set(_OF_PROGRAM.findall(index.read_text(encoding="utf-8")))
    first = [path.name for element in ELEMENTS for path in sorted(modules.glob(f"{element}.*.js"))]
    names = _with_imports(modules, first, known)
    return sorted(names, key=lambda name: (-(modules / name).stat().st_size, name))


def _with_imports(folder: Path, names: Collection[str], known: set[str]) -> Iterator[str]:
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in known or not (folder / name).is_file():
            continue
        known.add(name)
        yield name
        waiting += _IMPORTED.findall((folder / name).read_text(encoding="utf-8"))


def link_header(modules: Sequence[str]) -> str:
    """The value of the header `Link` with as many of the first modules as `MAX_HEADER_BYTES` allow.

    Addresses are relative to the page, as in Streamlit's `index.html`, so that they hold behind `server.baseUrlPath` and behind a
    proxy that adds a prefix.
    """
    header = ""
    for name in modules:
        longer = f"{header}{', ' if header else ''}<./static/js/{name}>; rel=modulepreload; fetchpriority=low"
        if len(longer) > MAX_HEADER_BYTES:
            break
        header = longer
    return header


class PreloadModules:
    """ASGI middleware that adds the header `Link` to pages. The modules have a low priority: the program itself is needed first."""

    def __init__(self, app: ASGIApp, modules: Sequence[str]) -> None:
        self._app = app
        self._header = (b"link", link_header(modules).encode())

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
