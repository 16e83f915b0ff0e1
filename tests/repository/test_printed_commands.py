"""Every command of `mpt` that stands in a message is one: its verb and options exist, and no prose stands in it.

A remark stands behind three spaces and a ``#``. Words in capitals stand for what nothing at hand tells; what a message
puts in is a word of its own.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from mpt_format.cli import mpt

ROOT = Path(__file__).resolve().parents[2]
_PUT_IN = "FILLED"
_PLACE = re.compile(r"[A-Z][A-Z_]*(\.[a-z]+)?|FILLED.*|.*FILLED|[a-z]+\.(mpt|py|toml)")


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, with FILLED where a value is put in."""
    inside: set[int] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(each) if part is not each}
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else _PUT_IN for v in each.values)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in inside:
            yield each.value


def commands() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "packages").glob("*/src/**/*.py")):
        for text in texts(ast.parse(file.read_text(encoding="utf-8"))):
            found = (
                [text]
                if re.match(r"mpt [a-z]", text) and "\n" not in text
                else re.findall(r"(?<!`)`(mpt [^`]+)`(?!`)", text)
            )
            found += re.findall(r"^(?:Run: )(mpt .+)$", text, re.MULTILINE)
            for command in found:
                yield file.name, command.partition("   #")[0]


def check(words: list[str]) -> None:
    """Check the words behind `mpt`.

    Raises:
        click.UsageError: no such verb or option.
        AssertionError: a word that is neither a value nor a place for one.
    """
    verb: click.Command = mpt
    context = click.Context(mpt)
    while isinstance(verb, click.Group) and words and words[0] != "VERB" and words != ["--help"]:
        name, found, words = verb.resolve_command(context, words)
        assert found is not None, name
        verb, context = found, click.Context(found, info_name=name)
    options = {text: option for option in verb.params for text in option.opts + option.secondary_opts}
    takes_one = False
    for word in words:
        if takes_one:
            takes_one = False
        elif word.startswith("-") and word != "--help":
            assert word in options, word
            option = options[word]
            takes_one = not (isinstance(option, click.Option) and option.is_flag)
        else:
            assert word == "--help" or _PLACE.fullmatch(word), word


@pytest.mark.parametrize(("file", "command"), sorted(set(commands())))
def test_a_printed_command_is_a_command(file: str, command: str) -> None:
    check(shlex.split(command)[1:])


@pytest.mark.parametrize(
    "command", ["zoo add it again", "zoo add WHEEL and more", "diagnose ARCHIVE --codes", "lode X"]
)
def test_prose_and_options_that_are_none_are_noticed(command: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        check(command.split())


def test_commands_of_both_packages_are_looked_at() -> None:
    assert {file for file, _ in commands()} >= {"errors.py", "next_command.py", "migrate.py"}
