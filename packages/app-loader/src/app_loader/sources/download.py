"""Getting the bytes of one wheel, and comparing them with what the index announced.

The credentials of an index go to its own host and to no other, whatever a redirect says; a redirect from https leads
nowhere but to https. They stand in no error.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from app_loader.credentials import find_credentials, hide_credentials, strip_credentials
from app_loader.errors import IntegrityError, SourceRefusedError
from app_loader.store.wheel import MAX_SIZE_BYTES

_TIMEOUT_S = 120
_CHUNK_BYTES = 1024**2
_ADVICE = "mpt zoo add WHEEL"


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect, but never from https to something that anybody on the way can change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it redirects from https to {urlsplit(newurl).scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def copy_wheel(source: Path, target: Path, announced: str | None) -> Path:
    """Copy a wheel out of a folder.

    Raises:
        SourceRefusedError: it is not there.
        IntegrityError: its bytes are not those announced.
    """
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise SourceRefusedError(str(source), [str(error)], _ADVICE) from error
    return _checked(target, announced, str(source))


def download_wheel(url: str, target: Path, announced: str | None, *, indexes: Sequence[str]) -> Path:
    """Download a wheel.

    Args:
        url: where the index says that it lies.
        target: the file to write.
        announced: sha256 (hex) that the index announced, None where it announced none.
        indexes: URLs of the indexes that may have given it; the credentials of one are used on its own host.

    Raises:
        SourceRefusedError: it cannot be had, or is larger than any wheel that is unpacked.
        IntegrityError: its bytes are not those announced.
    """
    shown = strip_credentials(url)
    request = urllib.request.Request(_without_credentials(url))
    credentials = next(
        filter(None, (find_credentials(each) for each in (url, *indexes) if _same_host(url, each))), None
    )
    if credentials:
        encoded = base64.b64encode(unquote(credentials).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    opener = urllib.request.build_opener(_CarefulRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
            size = 0
            while chunk := answer.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > MAX_SIZE_BYTES:
                    raise SourceRefusedError(shown, [f"it has more than {MAX_SIZE_BYTES} bytes"], _ADVICE)
                file.write(chunk)
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise SourceRefusedError(shown, [hide_credentials(str(error))], _ADVICE) from None
    return _checked(target, announced, shown)


def _without_credentials(url: str) -> str:
    """Return what is asked for: a query is part of it, as in a signed URL, and user and password are not."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _checked(target: Path, announced: str | None, source: str) -> Path:
    if announced is None:
        return target
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != announced:
        target.unlink()
        raise IntegrityError(source, [f"it has sha256 {found}, the index announced {announced}"], _ADVICE)
    return target


def _same_host(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.hostname, first.port) == (second.scheme, second.hostname, second.port)
