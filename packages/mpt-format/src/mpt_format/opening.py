"""Opening: from a path or a URL to an `Archive`."""

from __future__ import annotations

import os

from mpt_format.archive import Archive
from mpt_format.byte_source import LocalSource


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open an archive; use it in a ``with`` block. Tensors that were read stay valid after it.

    Args:
        path: a file, or a URL that fsspec knows (``https://``, ``s3://``, ``hf://``; extra ``remote``).

    Raises:
        ArchiveNotFoundError: nothing there, or not a regular file.
        CorruptArchiveError: cut off, or the manifest does not match the container.
        UnsafeArchiveError: a container that no writer of this format makes; `ForeignFileError` names the kind.
        RemoteReadError: a server did not give the bytes asked for.
        MalformedDocumentError, ManifestError, UnsupportedVersionError: see `parse_manifest`.
        MissingExtraError: a URL, and the extra is not installed.
    """
    name = os.fsdecode(path)
    if name.startswith("file://"):
        from urllib.request import url2pathname

        return Archive(LocalSource(url2pathname(name.removeprefix("file://").removeprefix("localhost"))))
    if "://" in name:
        from mpt_format.remote import open_remote

        return Archive(open_remote(name))
    return Archive(LocalSource(name))
