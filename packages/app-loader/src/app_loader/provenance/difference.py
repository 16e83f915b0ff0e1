"""What a working tree holds beyond its commit, byte for byte, as ``git apply`` reads it.

It is written with a repository of its own beside the tree, whose objects are borrowed and whose configuration is
nobody's: no filter runs, no line ends are converted, and no setting of a user changes the text. The package is taken as
its bytes are, because its digest pins them; other files of the project as git sees them, so that a clean tree is clean.

Three kinds of files cannot be recorded: what git ignores, what a filter such as git-crypt keeps in another form, and
what belongs to another repository inside this one. Those of the package are named, so that a person can be told.
"""

from __future__ import annotations

import hashlib
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from app_loader.provenance.beside import imported_beside
from app_loader.provenance.git import GitError, ask_git, plain_git
from app_loader.provenance.large_files import read_pointer

AS_THEY_ARE = "* -text -eol -ident -filter -working-tree-encoding\n"
"""Git attributes under which a file's bytes are never converted. Source: gitattributes(5)."""
_BARE = f"{AS_THEY_ARE.rstrip()} diff=bare\n"
_NO_HEADINGS = ("-c", "diff.bare.xfuncname=^$a")
"""What no line fits: git would repeat a line far above each change, which may be anything, and cut it in the middle."""
_BUILD_FILES = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "manifest.in", "hatch_build.py"})
_BUILD_STEMS = ("readme", "license", "licence", "copying", "notice")
_UNTRACKED_FACTOR = 20
"""Untracked files may be this many times the limit: git packs a difference, hardly ever by more."""
_BYTECODE = (".pyc", ".pyo")


class TooLargeError(Exception):
    """The difference is larger than the limit.

    Attributes:
        size_bytes: of the difference, or of the untracked files of which it would be made.
        largest: the largest files, with their sizes.
    """

    def __init__(self, size_bytes: int, largest: list[str]) -> None:
        self.size_bytes = size_bytes
        self.largest = largest
        super().__init__(size_bytes, largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A working tree at a commit.

    Attributes:
        top: its folder.
        commit: what is checked out, hex.
        objects: the folder of the repository's objects.
        hashing: the repository's object format, ``sha1`` or ``sha256``.
    """

    top: Path
    commit: str
    objects: Path
    hashing: str

    def path(self, folder: Path) -> str:
        """Return a folder's posix path below the top, empty for the top itself."""
        path = folder.relative_to(self.top).as_posix()
        return "" if path == "." else path


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A working tree's difference from its commit.

    Attributes:
        patch: as ``git apply --binary`` reads it, empty for none.
        text: the same with every file taken as text, to look through.
        unrecorded: files of the package that it lacks, each with the reason.
    """

    patch: bytes = b""
    text: bytes = b""
    unrecorded: tuple[str, ...] = field(default=())


def read_difference(tree: Tree, package: Path, project: Path, *, max_bytes: int) -> Difference:
    """Return the difference of a project's folder, untracked files of its package included.

    Args:
        tree: the working tree.
        package: the package's folder.
        project: the folder of its project, which holds the package.
        max_bytes: the largest difference to return.

    Raises:
        GitError: git refused.
        TooLargeError: the difference is larger than that.
    """
    found = _Files(tree, package, project)
    found.check_size(max_bytes * _UNTRACKED_FACTOR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "git"
        plain_git(tree.top, "init", "--quiet", "--bare", "--template=", f"--object-format={tree.hashing}", str(folder))
        (folder / "objects" / "info").mkdir(exist_ok=True)
        (folder / "objects" / "info" / "alternates").write_bytes(bytes(tree.objects) + b"\n")
        (folder / "info").mkdir(exist_ok=True)
        environment = {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(tree.top)}

        def git(*arguments: str, given: Iterable[str] | None = None) -> bytes:
            lines = None if given is None else b"".join(name.encode(errors="surrogateescape") + b"\0" for name in given)
            return plain_git(tree.top, *found.settings, *arguments, given=lines, environment=environment)

        git("read-tree", tree.commit)
        git("update-index", "--force-remove", "-z", "--stdin", given=found.gone)
        git("update-index", "--add", "--replace", "-z", "--stdin", given=found.converted)
        (folder / "info" / "attributes").write_text(_BARE)
        git("update-index", "--add", "--replace", "-z", "--stdin", given=found.as_they_are)
        command = (
            *found.settings,
            *_NO_HEADINGS,
            *("diff-index", "--cached", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames"),
            *("--src-prefix=a/", "--dst-prefix=b/", "-p"),
        )
        patch = Path(scratch) / "patch"
        with patch.open("wb") as file:
            plain_git(tree.top, *command, "--binary", tree.commit, environment=environment, output=file)
        size = patch.stat().st_size
        if size > max_bytes:
            raise TooLargeError(
                size, _largest(tree.top, found.changed(git("diff-index", "-z", "--cached", "--name-only", tree.commit)))
            )
        text = plain_git(tree.top, *command, "--text", tree.commit, environment=environment) if size else b""
        return Difference(patch=patch.read_bytes(), text=text, unrecorded=tuple(found.unrecorded))


class _Files:
    """Which files of a project the difference is made of, by posix path below the top of the tree."""

    def __init__(self, tree: Tree, package: Path, project: Path) -> None:
        self._tree = tree
        self._project = tree.path(project)
        self._package = tree.path(package)
        self._folders = package, project
        # Beside a package below src lie the others of the same distribution.
        self._sources = tree.path(package.parent) if package.parent.name == "src" else self._package
        self.unrecorded: list[str] = []
        self.gone: list[str] = []
        self.converted: list[str] = []
        self.as_they_are: list[str] = []
        self.untracked: list[str] = []
        self._find()

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """The settings of the repository that say what its file system can hold, and what converts line ends."""
        found = []
        for name in ("core.fileMode", "core.symlinks", "core.ignoreCase", "core.autocrlf", "core.eol"):
            try:
                value = ask_git(self._tree.top, "config", "--get", name).decode().strip()
            except GitError:
                continue
            found += ["-c", f"{name}={value}"]
        return tuple(found)

    def _find(self) -> None:
        tracked = dict(self._tracked())
        staged = self._staged()
        filters = self._filters([*tracked, *(name for name in staged if name not in tracked)])
        for name, (mode, blob) in tracked.items():
            if staged.get(name):
                continue  # a sparse checkout leaves it out: it is as the commit says
            if mode == "160000":
                if self._within(name, self._package):
                    self.unrecorded.append(f"{name}: a repository of its own")
            elif not self._is_there(name):
                self.gone.append(name)
            else:
                self._sort(name, filters.get(name), blob)
        for name in self._others(tracked, staged):
            if name.endswith("/"):
                self.unrecorded.append(f"{name}: a repository of its own")
            elif self._is_there(name):
                self.untracked.append(name)
                self._sort(name, filters.get(name), None)
        ignored = self._ask("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", self._package or ".")
        self.unrecorded += [
            f"{name}: git ignores it"
            for name in ignored
            if not name.endswith(_BYTECODE) and "__pycache__" not in PurePosixPath(name).parts
        ]

    def _sort(self, name: str, filter_: str | None, blob: str | None) -> None:
        of_sources = self._within(name, self._sources)
        path = self._tree.top / name
        if of_sources and path.is_symlink() and not path.resolve().is_relative_to(self._tree.top.resolve()):
            self.unrecorded.append(f"{name}: a link to {path.resolve()}, outside of the repository")
        if filter_ == "lfs" and blob is not None and self._is_large_file(name, blob):
            return
        if filter_ is not None and filter_ != "lfs":
            if of_sources:
                self.unrecorded.append(f"{name}: the git filter {filter_} keeps it in another form")
            return
        (self.as_they_are if of_sources or filter_ == "lfs" else self.converted).append(name)

    def _is_large_file(self, name: str, blob: str) -> bool:
        """Whether a file is the one that the commit's pointer of git LFS stands for."""
        pointer = read_pointer(ask_git(self._tree.top, "cat-file", "blob", blob))
        if pointer is None:
            return False
        with (self._tree.top / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == pointer

    def _tracked(self) -> Iterator[tuple[str, tuple[str, str]]]:
        below = [f"{self._project}/"] if self._project else []
        for line in self._ask("ls-tree", "-r", "-z", self._tree.commit, "--", *below):
            about, _, name = line.partition("\t")
            mode, _, blob = about.split()
            yield name, (mode, blob)

    def _staged(self) -> dict[str, bool]:
        """Return every file of the index and whether a sparse checkout leaves it out."""
        lines = self._ask("ls-files", "-z", "-v", "--cached", "--", self._project or ".")
        return {line[2:]: line[0] in "Ss" and not self._is_there(line[2:]) for line in lines}

    def _others(self, tracked: dict[str, tuple[str, str]], staged: dict[str, bool]) -> Iterator[str]:
        """Yield what the commit does not know: added to the index, of the package, imported by it, needed to build."""
        yield from (name for name in staged if name not in tracked)
        others = ("ls-files", "-z", "--others", "--exclude-standard")
        yield from self._ask(*others, "--", self._sources or ".")
        for name in self._ask(*others, "--", self._project or "."):
            if self._within(name, self._sources):
                continue
            path = PurePosixPath(name)
            direct = not name.endswith("/") and path.parent == PurePosixPath(self._project or ".")
            build = path.name.lower() in _BUILD_FILES or path.name.lower().startswith(_BUILD_STEMS)
            if (direct and build) or any(self._within(name, each) or name == each for each in self._imported):
                yield name

    @cached_property
    def _imported(self) -> list[str]:
        """What the package imports of its project, looked for only where git does not know a file beside it."""
        return [self._tree.path(path) for path in imported_beside(*self._folders)]

    def _filters(self, names: list[str]) -> dict[str, str]:
        given = b"".join(name.encode(errors="surrogateescape") + b"\0" for name in names)
        fields = ask_git(self._tree.top, "check-attr", "-z", "--stdin", "filter", given=given).split(b"\0")
        decoded = [each.decode(errors="surrogateescape") for each in fields]
        answers = zip(decoded[::3], decoded[2::3], strict=False)
        return {name: value for name, value in answers if value not in ("unspecified", "unset", "set")}

    def _ask(self, *arguments: str) -> list[str]:
        answer = ask_git(self._tree.top, "--literal-pathspecs", *arguments)
        return [name.decode(errors="surrogateescape") for name in answer.split(b"\0") if name]

    def _is_there(self, name: str) -> bool:
        """Whether a path is a file or a link in the tree, reached through folders and not through a link."""
        path = self._tree.top / name
        try:
            mode = path.lstat().st_mode
        except OSError:
            return False
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return False
        return self._is_plain(path.parent)

    def _is_plain(self, folder: Path) -> bool:
        known = self._plain.get(folder)
        if known is None:
            known = folder == self._tree.top or (not folder.is_symlink() and self._is_plain(folder.parent))
            self._plain[folder] = known
        return known

    @cached_property
    def _plain(self) -> dict[Path, bool]:
        return {}

    @staticmethod
    def _within(name: str, folder: str) -> bool:
        return not folder or name.startswith(f"{folder}/")

    def check_size(self, max_bytes: int) -> None:
        """Refuse before git packs gigabytes.

        Raises:
            TooLargeError: the untracked files are larger than that.
        """
        total = sum(_size(self._tree.top / name) for name in self.untracked)
        if total > max_bytes:
            raise TooLargeError(total, _largest(self._tree.top, self.untracked))

    @staticmethod
    def changed(answer: bytes) -> list[str]:
        """Return the names of git's answer."""
        return [name.decode(errors="surrogateescape") for name in answer.split(b"\0") if name]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _largest(top: Path, names: list[str]) -> list[str]:
    sizes = sorted(((_size(top / name), name) for name in names), reverse=True)
    return [f"{name} ({size} bytes)" for size, name in sizes[:3]]
