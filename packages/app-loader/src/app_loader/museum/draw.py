"""The matrix drawn: a table for a terminal, a page for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_loader.museum.cell import MEANING, Verdict
from app_loader.museum.matrix import Matrix

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {
    Verdict.EQUAL: "green",
    Verdict.CLOSE: "green",
    Verdict.MIGRATED: "cyan",
    Verdict.DIFFERS: "yellow",
    Verdict.REFUSED: "red",
}
_COLOURS = {
    Verdict.EQUAL: "#c8e6c9",
    Verdict.CLOSE: "#dcedc8",
    Verdict.MIGRATED: "#b2ebf2",
    Verdict.DIFFERS: "#fff3c4",
    Verdict.REFUSED: "#ffcdd2",
}

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Checkpoints and versions</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse }
th, td { border: 1px solid #bbb; padding: .35em .7em; text-align: left; vertical-align: top }
td small { display: block; color: #444; max-width: 24em }
td.trained { outline: 2px solid #222; outline-offset: -2px }
{% for verdict, colour in colours.items() %}td.{{ verdict }}, span.{{ verdict }} { background: {{ colour }} }
{% endfor %}</style></head>
<body><h1>Checkpoints and versions</h1>
<table><thead><tr><th>checkpoint</th>{% for version in matrix.versions %}<th>{{ version }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in matrix.rows %}
<tr><th>{{ row.checkpoint }}</th>{% for cell in row.cells %}
<td class="{{ cell.verdict }}{{ ' trained' if cell.trained }}">{{ cell.verdict }}<small>{{ cell.detail }}</small></td>
{%- endfor %}</tr>{% endfor %}
</tbody></table>
<p>A frame marks the version that trained the checkpoint.</p>
<ul>{% for verdict, meaning in meanings.items() %}
<li><span class="{{ verdict }}">{{ verdict }}</span>: {{ meaning }}</li>{% endfor %}
</ul></body></html>
"""


def make_table(matrix: Matrix) -> Table:
    """Return the matrix as a table; the version that trained a checkpoint is marked with a star."""
    from rich.table import Table
    from rich.text import Text

    table = Table("checkpoint", *matrix.versions)
    for row in matrix.rows:
        cells = [
            Text(f"{cell.verdict}{' *' if cell.trained else ''}", style=_STYLES[cell.verdict]) for cell in row.cells
        ]
        table.add_row(Text(row.checkpoint), *cells)
    return table


def make_page(matrix: Matrix) -> str:
    """Return the matrix as one HTML page that needs nothing beside it."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(_PAGE)
    return template.render(matrix=matrix, colours=_COLOURS, meanings=MEANING)
