"""A commit of a repository as a folder of its own, every file with the bytes that the commit has.

A repository on this machine lends its objects, so that a commit is found that no branch holds any more; nothing is
fetched and nothing in it is written. From a URL everything is fetched, and at last the commit by its own name.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app_loader.errors import ProvenanceError
from app_loader.provenance.difference import AS_THEY_ARE
from app_loader.provenance.git import GitError, ask_git, plain_git

_REFERENCES = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """What was checked out.

    Attributes:
        commit: the full commit, hex.
        git_folder: the git folder of the repository where it is on this machine, else None.
    """

    commit: str
    git_folder: Path | None


def local_folder(repository: str) -> Path | None:
    """Return the folder that a repository's name means, None for a URL of another machine."""
    if repository.lower().startswith("file://"):
        return Path(unquote(urlsplit(repository).path))
    folder = Path(repository)
    return folder if "://" not in repository and folder.is_dir() else None


def check_out(repository: str, commit: str, tree: Path, *, subject: str, timeout_s: float) -> Checkout:
    """Check a commit out into a new folder.

    Args:
        repository: a local folder or a URL.
        commit: a commit, tag or branch.
        tree: the folder, which is made.
        subject: what an error names.
        timeout_s: the longest that fetching may take.

    Raises:
        ProvenanceError: the repository cannot be read, or has no such commit.
    """
    if commit.startswith("-") or not commit.isprintable() or not commit:
        raise ProvenanceError(subject, [f"{commit!r} is no name of a commit"], "git log")
    folder = local_folder(repository)
    try:
        if folder is not None:
            git_folder, full = _borrow(folder.absolute(), commit, tree)
        else:
            git_folder, full = None, _fetch(repository, commit, tree, timeout_s)
        plain_git(tree, "checkout", "--quiet", "--detach", full)
    except GitError as error:
        raise ProvenanceError(subject, [*error.said, *_why(error, folder)], _advice(folder, commit)) from None
    return Checkout(commit=full, git_folder=git_folder)


def commit_time(tree: Path) -> str:
    """Return the time of the commit that is checked out, in seconds."""
    return plain_git(tree, "log", "-1", "--format=%ct").decode().strip()


def _borrow(folder: Path, commit: str, tree: Path) -> tuple[Path, str]:
    """Make a repository that reads the objects of another; return that one's git folder and the full commit."""

    def ask(*arguments: str) -> str:
        return ask_git(folder, *arguments).decode(errors="surrogateescape").removesuffix("\n")

    full = ask("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").splitlines()[-1]
    git_folder = Path(ask("rev-parse", "--path-format=absolute", "--git-common-dir"))
    objects = ask("rev-parse", "--path-format=absolute", "--git-path", "objects")
    _make(tree, ask("rev-parse", "--show-object-format"))
    git = tree / ".git"
    (git / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (git / "objects" / "info" / "alternates").write_bytes(objects.encode(errors="surrogateescape") + b"\n")
    if (git_folder / "shallow").is_file():
        shutil.copyfile(git_folder / "shallow", git / "shallow")
    references = ask("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").splitlines()
    lines = [
        f"update {name.replace('refs/heads/', 'refs/remotes/origin/', 1)} {of}" for of, name in map(_split, references)
    ]
    plain_git(
        tree, "update-ref", "--stdin", given="".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
    )
    return git_folder, full


def _split(line: str) -> tuple[str, str]:
    of, _, name = line.partition(" ")
    return of, name


def _fetch(repository: str, commit: str, tree: Path, timeout_s: float) -> str:
    _make(tree, "sha1")
    ask_git(tree, "fetch", "--quiet", "--", repository, *_REFERENCES, timeout_s=timeout_s)
    for name in (commit, f"refs/remotes/origin/{commit}"):
        try:
            return plain_git(tree, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
        except GitError:
            continue
    # No branch holds it any more; a server may still have it.
    ask_git(tree, "fetch", "--quiet", "--", repository, commit, timeout_s=timeout_s)
    return plain_git(tree, "rev-parse", "--verify", "FETCH_HEAD^{commit}").decode().strip()


def _make(tree: Path, hashing: str) -> None:
    tree.mkdir(parents=True)
    plain_git(tree, "init", "--quiet", "--template=", f"--object-format={hashing}")
    (tree / ".git" / "info").mkdir(exist_ok=True)
    (tree / ".git" / "info" / "attributes").write_text(AS_THEY_ARE)


def _why(error: GitError, folder: Path | None) -> list[str]:
    said = str(error)
    if "not our ref" in said or "couldn't find remote ref" in said or "Needed a single revision" in said:
        return ["it has no such commit: it was never pushed there, or was removed by a forced push"]
    if folder is not None and ("unable to read" in said or "missing" in said):
        return ["its objects are not all here, as in a partial clone: git fetch --refetch brings them"]
    return []


def _advice(folder: Path | None, commit: str) -> str:
    place = "REPOSITORY" if folder is None else str(folder)
    return f"git -C {place} cat-file -t {commit}   # the clone in which it was made may have it: --repository CLONE"
