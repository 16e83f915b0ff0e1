"""Every error keeps its facts, prints without steering the terminal, and survives pickle."""

from __future__ import annotations

import pickle

import pytest
from mpt_format import errors
from mpt_format.errors import ArchiveProblem, MptError

PROBLEMS = [ArchiveProblem(where="a\x1b[2J", message="is \u202e wrong"), ArchiveProblem(where="b", message="x\ny")]
EXAMPLES: list[MptError] = [
    errors.ArchiveError("p", PROBLEMS),
    errors.ArchiveNotFoundError("p", PROBLEMS),
    errors.CorruptArchiveError(None, PROBLEMS),
    errors.UnsafeArchiveError("p\x07", PROBLEMS),
    errors.RemoteReadError("p", PROBLEMS),
    errors.ForeignFileError("p\x07.pt", PROBLEMS, "a \u202e thing", convertible=True),
    errors.MalformedDocumentError("p", PROBLEMS),
    errors.ArchiveWriteError("p", PROBLEMS, 28),
    errors.SignatureError("p", PROBLEMS),
    errors.ManifestError("p", PROBLEMS),
    errors.UnsupportedVersionError("p", 7, 1),
    errors.TensorMismatchError("p", PROBLEMS),
    errors.UnstorableStateError(PROBLEMS),
    errors.MissingExtraError("remote", "reading x", advice="Install s3fs"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_survives_pickle_with_its_facts(error: MptError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_prints_nothing_that_steers_a_terminal(error: MptError) -> None:
    assert not {"\x1b", "\u202e", "\x07"} & set(str(error))


def test_every_error_of_the_archive_has_an_example() -> None:
    of_others = {errors.MptError, errors.ConversionError, errors.AuditError}
    known = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MptError)
    } - of_others
    assert known == {type(error) for error in EXAMPLES}


def test_the_tree_in_the_docstring_names_every_error() -> None:
    assert errors.__doc__ is not None
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, MptError):
            assert name in errors.__doc__


def test_errors_subclass_their_cousins_of_the_standard_library() -> None:
    assert issubclass(errors.ArchiveNotFoundError, FileNotFoundError)
    assert issubclass(errors.ArchiveWriteError, OSError)
    assert issubclass(errors.MissingExtraError, ImportError)
