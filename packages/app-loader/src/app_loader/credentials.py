"""User names, passwords and tokens in URLs: they are used where a person gave them, and never written down or shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_USER_INFO = re.compile(r"(?<=://)[^\s/'\"]+@")
_HELPER = re.compile(r"^([A-Za-z0-9][A-Za-z0-9+.-]*)::(?=.*)")
_SCP = re.compile(r"^(?P<user>[^/@\s]+)@(?P<rest>[^/]+:.*)$", re.DOTALL)
_QUERY = re.compile(r"(?<=://)([^\s'\"?]*)\?[^\s'\"]+")


def strip_credentials(url: str) -> str:
    """Return a repository's URL without password, token or query; the user name that ssh needs is kept.

    Example:
        >>> strip_credentials("https://user:token@example.org:8443/zoo.git?key=1")
        'https://example.org:8443/zoo.git'
        >>> strip_credentials("ssh://git@example.org/zoo.git")
        'ssh://git@example.org/zoo.git'
    """
    helper = _HELPER.match(url)
    if helper:  # a remote helper's name stands before the URL, as in codecommit::https://...
        return url[: helper.end()] + strip_credentials(url[helper.end() :])
    scheme, separator, rest = url.partition("://")
    if not separator:
        scp = _SCP.match(url)
        return f"{scp['user'].partition(':')[0]}@{scp['rest']}" if scp else url
    if scheme.lower() == "file":
        return url
    authority, path = _authority(rest)
    user, _, host = authority.rpartition("@")
    if "ssh" not in scheme.lower():  # a folder over ssh may have such a name; elsewhere it may be a token
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    kept = f"{user.partition(':')[0]}@" if user and "ssh" in scheme.lower() else ""
    return f"{scheme}://{kept}{host}{path}"


def hide_credentials(text: str) -> str:
    """Return a text for people, such as an error of git, without the credentials and queries of the URLs in it."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("", text))


def find_credentials(url: str) -> str | None:
    """Return ``user:password`` of a URL as it stands there, None where it has none."""
    return urlsplit(url).netloc.rpartition("@")[0] or None


def _authority(rest: str) -> tuple[str, str]:
    """Split what follows ``://``; a slash inside of a password, which no URL allows, does not end the authority."""
    end = re.search(r"[/?#]", rest)
    authority = rest[: end.start()] if end else rest
    port = authority.rpartition("@")[2].partition("]")[2 if "]" in authority else 0].rpartition(":")
    if port[1] and not port[2].isdigit() and "@" in rest:
        userinfo, _, after = rest.rpartition("@")
        host, path = _authority(after)
        return f"{userinfo}@{host}", path
    return authority, rest[len(authority) :]
