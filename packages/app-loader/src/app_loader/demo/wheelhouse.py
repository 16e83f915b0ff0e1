"""The wheel that the demo trains with: an old release of the model zoo from the repository's wheelhouse."""

from __future__ import annotations

from pathlib import Path

from app_loader.errors import ResolutionError, VersionNotStoredError
from app_loader.settings import read_settings

OLD_VERSION = "0.1.0"


def find_old_wheel(folder: Path | None) -> Path:
    """Return the old wheel of a wheelhouse; None looks into the wheelhouses of the settings.

    Raises:
        VersionNotStoredError: there is none.
    """
    places = read_settings().wheelhouses if folder is None else (folder,)
    for place in places:
        wheels = sorted(place.glob(f"model_zoo-{OLD_VERSION}-*.whl"))
        if wheels:
            return wheels[0]
    raise _absent(", ".join(map(str, places)) or "nor in a wheelhouse: no mpt.toml names one")


def _absent(place: str) -> ResolutionError:
    return VersionNotStoredError(
        distribution="model-zoo",
        version=OLD_VERSION,
        digest=None,
        store=place,
        next_command="mpt demo --wheelhouse FOLDER   # or run it inside a clone of the repository",
    )
