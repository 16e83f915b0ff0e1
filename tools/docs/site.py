"""MkDocs hooks: the navigation follows the folders, and documents of the root become pages.

A page that nobody listed still finds its place, so that a capability and its page need no third file.
Source: https://www.mkdocs.org/dev-guide/plugins/#events
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]

ADOPTED = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "VERSIONING.md": "explanation/versioning.md",
    "CONTRIBUTING.md": "how-to/contribute.md",
    "museum/README.md": "explanation/museum.md",
    "packages/policy-interface/CHANGELOG.md": "changes/policy-interface.md",
    "packages/model-zoo/CHANGELOG.md": "changes/model-zoo.md",
    "packages/mpt-format/CHANGELOG.md": "changes/mpt-format.md",
    "packages/app-loader/CHANGELOG.md": "changes/app-loader.md",
}
"""Documents outside docs/ that are pages of the site as well."""

ORDER = (
    "index.md",
    "tutorial.md",
    "how-to/load.md",
    "how-to/save.md",
    "how-to/train.md",
    "diagnosis.md",
    "migration.md",
    "how-to/write-a-zoo.md",
    "how-to/lint-an-application.md",
    "how-to/audit-a-share.md",
    "audit.md",
    "convert.md",
    "how-to/archives.md",
    "how-to/museum.md",
    "how-to/release.md",
    "how-to/contribute.md",
    "explanation/architecture.md",
    "isolation.md",
    "trust.md",
    "matching.md",
    "explanation/versioning.md",
    "zoo-history.md",
    "command-line.md",
    "format.md",
    "benchmarks/index.md",
)
"""From the main job outwards. A page that is not here follows the others of its section, by name."""
HOW_TO = ("audit.md", "convert.md", "migration.md", "diagnosis.md")
"""Pages at the top of docs/ that say how something is done."""
REFERENCE = ("format.md", "command-line.md")
"""Pages at the top of docs/ that specify."""
FIRST = ("index.md", "tutorial.md")

SECTIONS = {
    "How-to guides": ("how-to/",),
    "Explanation": ("explanation/",),
    "Reference": ("reference/",),
    "Benchmarks": ("benchmarks/",),
    "Changes": ("changes/",),
}

_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adopt the documents of the root."""
    for source, target in ADOPTED.items():
        path = ROOT / source
        if path.exists() and files.get_file_from_path(target) is None:
            text = adopt_links(path.read_text(encoding="utf-8"), source, target)
            files.append(File.generated(config, target, content=text))
    config.nav = make_navigation(file.src_uri for file in files.documentation_pages())
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ to the page that was adopted, or leave their words without a link."""
    source = f"docs/{page.file.src_uri}"
    if page.file.generated_by is not None:  # adopted: its links were rewritten already
        return markdown
    return adopt_links(markdown, source, page.file.src_uri)


def adopt_links(text: str, source: str, target: str) -> str:
    """Return Markdown whose relative links work from another place.

    Args:
        text: Markdown.
        source: where it stands, relative to the root of the repository.
        target: where it will stand, relative to docs/.
    """
    pieces = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        piece if piece.startswith("```") else _LINK.sub(lambda m: _moved(m, source, target), piece) for piece in pieces
    )


def make_navigation(pages: Iterable[str]) -> list[Any]:
    """Return the navigation over these pages, paths relative to docs/."""
    place = {page: number for number, page in enumerate(ORDER)}
    remaining = sorted(pages, key=lambda page: (place.get(page, len(ORDER)), page))
    navigation: list[Any] = []
    for page in FIRST:
        if page in remaining:
            navigation.append(page)
            remaining.remove(page)
    for title, prefixes in SECTIONS.items():
        own = [page for page in remaining if page.startswith(prefixes) or _belongs(page, title)]
        remaining = [page for page in remaining if page not in own]
        if own:
            navigation.append({title: own})
    if remaining:
        navigation.append({"More": remaining})
    return navigation


def _belongs(page: str, title: str) -> bool:
    if "/" in page:
        return False
    if "comparison" in page:
        return title == "Benchmarks"
    if page in HOW_TO or page in REFERENCE:
        return title == ("How-to guides" if page in HOW_TO else "Reference")
    return title == "Explanation"


def _moved(match: re.Match[str], source: str, target: str) -> str:
    link, anchor = match.group(1), match.group(2) or ""
    absolute = (ROOT / source).parent.joinpath(link).resolve()
    if not absolute.is_relative_to(ROOT):
        return match.group(0)
    place = absolute.relative_to(ROOT).as_posix()
    if place in ADOPTED:
        page = ADOPTED[place]
    elif place.startswith("docs/"):
        page = place.removeprefix("docs/")
    else:  # a file of the repository that is no page: the site says where it stands
        return f"{_up(target)}explanation/architecture.md" if (ROOT / place).exists() else match.group(0)
    return f"{_up(target)}{page}{anchor}"


def _up(target: str) -> str:
    return "../" * target.count("/")
