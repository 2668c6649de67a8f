"""A hook of MkDocs: links to files outside of docs/ become the file's path, since the site does not hold these files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
_DOCS = Path(__file__).parents[1] / "docs"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text with each link that leaves docs/ replaced by its text and the file's path."""
    folder = (_DOCS / page.file.src_uri).parent

    def replace(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(_DOCS):
            return link.group()
        file = path.relative_to(_DOCS.parent)
        return f"`{file}`" if text.strip("`") in (file.name, str(file)) else f"{text} (`{file}`)"

    return _LINK.sub(replace, markdown)
