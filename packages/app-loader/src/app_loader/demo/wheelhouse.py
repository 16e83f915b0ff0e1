"""The wheel that the demo trains with: an old release of the model zoo from the repository's wheelhouse."""

from __future__ import annotations

from pathlib import Path

from app_loader.errors import ResolutionError, VersionNotStoredError

OLD_VERSION = "0.1.0"


def find_old_wheel(folder: Path | None) -> Path:
    """Return the old wheel of a wheelhouse; None looks for ``wheelhouse/`` here and in the folders above.

    Raises:
        VersionNotStoredError: there is none.
    """
    here = Path.cwd()
    places = [folder] if folder is not None else [parent / "wheelhouse" for parent in (here, *here.parents)]
    for place in places:
        wheels = sorted(place.glob(f"model_zoo-{OLD_VERSION}-*.whl"))
        if wheels:
            return wheels[0]
    raise _absent(places[0])


def _absent(place: Path) -> ResolutionError:
    return VersionNotStoredError(
        distribution="model-zoo",
        version=OLD_VERSION,
        digest=None,
        store=str(place),
        next_command="mpt demo --wheelhouse FOLDER   # or run it inside a clone of the repository",
    )
