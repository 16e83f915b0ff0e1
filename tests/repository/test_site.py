"""The site's hooks: every page finds one place, and links of adopted documents still lead somewhere."""

from __future__ import annotations

from typing import Any

from tools.docs.site import ADOPTED, ORDER, ROOT, adopt_links, make_navigation


def places(navigation: list[Any]) -> dict[str, str]:
    """Return page to section; pages at the top have the empty section."""
    found: dict[str, str] = {}
    for entry in navigation:
        for title, pages in [("", [entry])] if isinstance(entry, str) else entry.items():
            found.update(dict.fromkeys(pages, title))
    return found


def test_every_page_has_one_place() -> None:
    pages = [
        "how-to/load.md",
        "index.md",
        "format.md",
        "audit.md",
        "isolation.md",
        "odd/page.md",
        "audit-comparison.md",
    ]
    assert places(make_navigation(pages)) == {
        "index.md": "",
        "how-to/load.md": "How-to guides",
        "audit.md": "How-to guides",
        "isolation.md": "Explanation",
        "format.md": "Reference",
        "audit-comparison.md": "Benchmarks",
        "odd/page.md": "More",
    }


def test_front_page_comes_first() -> None:
    assert make_navigation(["a.md", "tutorial.md", "index.md"])[:2] == ["index.md", "tutorial.md"]


def test_pages_of_a_section_lead_from_the_main_job_outwards() -> None:
    pages = ["audit.md", "how-to/another.md", "how-to/load.md", "how-to/save.md"]
    assert make_navigation(pages) == [
        {"How-to guides": ["how-to/load.md", "how-to/save.md", "audit.md", "how-to/another.md"]}
    ]
    adopted = set(ADOPTED.values())
    assert [page for page in ORDER if page not in adopted and not (ROOT / "docs" / page).is_file()] == []


def test_every_adopted_document_is_there() -> None:
    assert [source for source in ADOPTED if not (ROOT / source).is_file()] == []


def test_link_to_an_adopted_document_leads_to_its_page() -> None:
    text = adopt_links("[tour](../../ARCHITECTURE.md#decisions)", "docs/how-to/load.md", "how-to/load.md")
    assert text == "[tour](../explanation/architecture.md#decisions)"


def test_link_into_docs_is_kept_when_the_document_moves() -> None:
    text = adopt_links("[load](docs/how-to/load.md)", "ARCHITECTURE.md", "explanation/architecture.md")
    assert text == "[load](../how-to/load.md)"


def test_links_of_the_web_and_code_blocks_are_left_alone() -> None:
    text = "[uv](https://docs.astral.sh/uv/)\n\n```python\nx = [a](b.md)\n```\n"
    assert adopt_links(text, "docs/index.md", "index.md") == text
