"""Hooks of MkDocs: pages of the packages join those of docs/, and links to files that the site does not hold become the file's path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_ROOT = Path(__file__).parents[1]
_DOCS = _ROOT / "docs"


def _package_pages() -> dict[str, list[str]]:
    """Pages of each package, as paths from the root: the README, docs/, READMEs of examples, the changelog."""
    return {
        package.name: [
            path.relative_to(_ROOT).as_posix()
            for pattern in ("README.md", "docs/*.md", "examples/*/README.md", "CHANGELOG.md")
            for path in sorted(package.glob(pattern))
        ]
        for package in sorted((_ROOT / "packages").iterdir())
        if package.is_dir()
    }


def on_config(config: Any) -> Any:
    """Adds the section Packages to the navigation, before Reference."""
    config.nav.insert(-1, {"Packages": [{name: pages} for name, pages in _package_pages().items()]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the packages, which the site shows under the same path."""
    for pages in _package_pages().values():
        for page in pages:
            files.append(File(page, str(_ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text, whose links lead to pages of the site. Links to other files are replaced by text and path."""
    uri = page.file.src_uri
    folder = ((_ROOT if uri.startswith("packages/") else _DOCS) / uri).parent

    def replace(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = (folder / target).resolve()
        if site_path := _site_path(path):
            return f"[{text}]({os.path.relpath(site_path, Path(uri).parent)}{anchor or ''})"
        file = path.relative_to(_ROOT)
        return f"`{file}`" if text.strip("`") in (file.name, str(file)) else f"{text} (`{file}`)"

    return _LINK.sub(replace, markdown)


def _site_path(path: Path) -> str | None:
    """The path of a file on the site, None for a file that is not on it."""
    if path.is_relative_to(_DOCS):
        return path.relative_to(_DOCS).as_posix()
    file = path.relative_to(_ROOT).as_posix()
    return file if any(file in pages for pages in _package_pages().values()) else None
