"""Reading where a package's source comes from: repository, commit, branch, and the difference of its working tree.

Nothing of the repository is executed and nothing in it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app_loader.credentials import strip_credentials
from app_loader.errors import ForeignSettingsError, ProvenanceError
from app_loader.provenance.difference import Difference, TooLargeError, Tree, read_difference
from app_loader.provenance.git import GitError, ask_git
from app_loader.provenance.secrets import find_secrets
from app_loader.settings import Settings, read_settings

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where source comes from; every attribute is None where it is unknown.

    Attributes:
        repository: the remote's URL without credentials, or the local folder where there is no remote.
        commit: hex.
        branch: its name; None when detached.
        dirty: whether the project's folder differs from the commit, or the package has files that git does not know.
        diff: that difference, as ``git apply --binary`` reads it.
        unrecorded: why the source cannot be built again from this alone: files that the difference lacks, a missing
            commit; each with its reason.
    """

    repository: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    diff: bytes | None = None
    unrecorded: tuple[str, ...] = ()


def find_provenance(package: Path, settings: Settings | None = None) -> Provenance:
    """Return where a package's folder comes from; everything is None outside a working tree or without git.

    An installed package (one below ``site-packages``) comes from a wheel, whatever tree it lies in.

    Raises:
        ProvenanceError: the difference is larger than the settings allow, or holds what looks like a secret.
    """
    package = package.resolve()
    top = _find_top(package)
    if top is None or not _is_source(package):
        return Provenance()
    repository = _repository(package, top)
    branch = _ask(package, "symbolic-ref", "--quiet", "--short", "HEAD")
    commit = _ask(package, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit is None:
        reason = "the repository has no commit yet"
        return Provenance(repository=repository, branch=branch, dirty=True, unrecorded=(reason,))
    chosen = settings if settings is not None else _settings_of(package)
    try:
        found = read_difference(
            _tree(top, commit), package, _project_folder(package, top), max_bytes=chosen.max_diff_bytes
        )
    except GitError as error:
        reason = f"the difference from the commit cannot be told: {error}"
        return Provenance(repository=repository, commit=commit, branch=branch, unrecorded=(reason,))
    except TooLargeError as error:
        raise ProvenanceError(str(package), [_too_large(error, chosen)], _ADVICE) from None
    _check_secrets(package, found, chosen)
    return Provenance(
        repository=repository,
        commit=commit,
        branch=branch,
        dirty=bool(found.patch),
        diff=found.patch or None,
        unrecorded=found.unrecorded,
    )


def _settings_of(package: Path) -> Settings:
    """The settings that hold where a package lies, or the defaults where a stranger wrote them: they let less through.

    A training run does not fail at its end because of them.
    """
    try:
        return read_settings(package)
    except ForeignSettingsError:
        return Settings()


_ADVICE = "git commit or git stash, then save again   # or secrets = 'record', max_diff_bytes = ... in mpt.toml"


def _find_top(package: Path) -> Path | None:
    """Return the top of the working tree, None outside of one and in a repository without one."""
    top = _ask(package, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def _is_source(package: Path) -> bool:
    """Whether a folder in a working tree is source: tracked, or new; neither ignored nor installed there."""
    if not _INSTALLED.isdisjoint(package.parts):
        return False
    if _ask(package, "ls-files", "--error-unmatch", ".") is not None:
        return True
    hidden = _ask(package, "config", "--get", "status.showUntrackedFiles") == "no"  # a home folder under git, say
    return not hidden and _ask(package, "check-ignore", "--quiet", ".") is None


def _tree(top: Path, commit: str) -> Tree:
    objects = ask_git(top, "rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip()
    hashing = ask_git(top, "rev-parse", "--show-object-format").decode().strip()
    return Tree(top=top, commit=commit, objects=Path(objects), hashing=hashing)


def _repository(package: Path, top: Path) -> str:
    """Return the URL of the branch's remote, else of origin, else of the only one; the folder where there is none."""
    branch = _ask(package, "symbolic-ref", "--quiet", "--short", "HEAD")
    tracked = _ask(package, "config", "--get", f"branch.{branch}.remote") if branch else None
    remotes = (_ask(package, "remote") or "").splitlines()
    for name in (tracked, "origin", *(remotes if len(remotes) == 1 else ())):
        if name in remotes:
            url = (_ask(package, "config", "--get-all", f"remote.{name}.url") or "").splitlines()
            if url:
                return _meant(package, top, str(name), url[0])
    return str(top)


def _meant(package: Path, top: Path, remote: str, url: str) -> str:
    """Return what a remote's URL means elsewhere: an abbreviation (insteadOf) written out, a folder absolute."""
    if "://" not in url:
        url = _ask(package, "ls-remote", "--get-url", remote) or url
    if "://" not in url and (top / url).exists():
        return str((top / url).resolve())
    return strip_credentials(url)


def _too_large(error: TooLargeError, settings: Settings) -> str:
    return (
        f"the tree differs from its commit by {error.size_bytes} bytes, at most {settings.max_diff_bytes} are "
        f"recorded; the largest are {', '.join(error.largest)}; commit the changes, ignore generated files, or raise "
        "max_diff_bytes in mpt.toml"
    )


def _check_secrets(package: Path, found: Difference, settings: Settings) -> None:
    if settings.secrets != "refuse":
        return
    problems = [f"{where} holds what looks like {kind}" for where, kind in find_secrets(found.text)]
    if problems:
        raise ProvenanceError(str(package), problems, _ADVICE)


def _project_folder(package: Path, top: Path) -> Path:
    """Return the nearest folder above a package that holds a project, else the top of the tree."""
    for folder in (package, *package.parents):
        if folder == top or any((folder / name).is_file() for name in _PROJECT_FILES):
            return folder
    return top


def _ask(folder: Path, *arguments: str) -> str | None:
    try:
        answer = ask_git(folder, *arguments)
    except GitError:
        return None
    return answer.decode(errors="surrogateescape").removesuffix("\n")
