"""Text that looks like a secret, in a difference. Places are told, the secret itself never is.

The lines that it removes and those that it shows for context are looked at too: an archive goes where the repository
may not go.

Tokens are known by the form in which their issuers make them. A value that is given to a name such as ``password``
counts unless it reads like a placeholder, a name or a path. Every pattern is bounded, so that no text takes long.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

_ISSUED = {
    "a private key": rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----",
    "a private key in base64": rb"LS0tLS1CRUdJTiB[A-Za-z0-9+/]{0,40}(?:UFJJVkFUR|BSSVZBVE|QUklWQVRF)",
    "an AWS key": rb"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    "an AWS secret key": rb"(?i:aws.{0,20}secret.{0,20})[\s:=\"'][A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})",
    "a GitLab token": rb"\bgl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{20}",
    "a Hugging Face token": rb"\b(?:hf|api_org)_[A-Za-z0-9]{30}",
    "a Slack token": rb"\bxox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T[A-Za-z0-9_/]{20}",
    "a Google key": rb"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])|\bya29\.[0-9A-Za-z_-]{30}",
    "a PyPI token": rb"\bpypi-AgE[A-Za-z0-9_-]{50}",
    "an npm token": rb"\bnpm_[A-Za-z0-9]{36}\b",
    "a Stripe key": rb"\b[rs]k_live_[A-Za-z0-9]{20}",
    "a SendGrid key": rb"\bSG\.[A-Za-z0-9_-]{20,40}\.[A-Za-z0-9_-]{40}",
    "an Azure key": rb"\b(?i:Account|SharedAccess)Key=[A-Za-z0-9/+]{40}",
    "a token, by its start": rb"\b(?:dapi[0-9a-f]{32}|dckr_pat_[\w-]{20}|do[opr]_v1_[0-9a-f]{64}|r8_[A-Za-z0-9]{37}|"
    rb"gsk_[A-Za-z0-9]{40}|hvs\.[\w-]{20}|glsa_[A-Za-z0-9]{32}|lin_api_[A-Za-z0-9]{30}|ntn_[A-Za-z0-9]{40}|"
    rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|eyJhcGlfYWRkcmVzcyI6[A-Za-z0-9+/=]{20})",
    "a web token": rb"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10}",
    "an API key": rb"(?<![\w-])sk-(?=[A-Za-z0-9_-]{0,200}[0-9])(?=[A-Za-z0-9_-]{0,200}[A-Z])[A-Za-z0-9_-]{20}",
}
_WITH_VALUE = {
    "a URL with a password": rb"://[^\s/:@'\"<>{}$%*,]{0,100}:(?P<value>[^\s/@'\"<>{}$%*,]{4,200})@[\w\[]",
    "a netrc entry": rb"\bmachine\s{1,9}\S{1,200}\s{1,9}login\s{1,9}\S{1,200}\s{1,9}"
    rb"password\s{1,9}(?P<value>\S{1,200})",
    "a bearer token": rb"(?i:\bauthorization['\"]?\s{0,9}[:=,]\s{0,9}['\"]?(?:bearer|token|basic)\s{1,9})"
    rb"(?P<value>[A-Za-z0-9._~+/=-]{16,})",
}
_GIVEN = (
    rb"(?i:passw(?:or)?d|passphrase|secret|secret_?key|api_?key|(?:auth|access|refresh|bearer)_?token|private_?key)"
    rb"['\"]?\s{0,9}(?::\s{0,9}\w{1,40}\s{0,9})?[:=]\s{0,9}(?P<quote>['\"])(?P<value>[^'\"\s]{8,200})(?P=quote)",
    rb"^[ \t]{0,40}(?:export[ \t]+)?[A-Z0-9_]{0,60}(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY)"
    rb"[A-Z0-9_]{0,20}=(?P<value>[^\s'\"#;$<({\[]{8,200})[ \t\r]*$",
)
_PATTERNS = [
    (kind, re.compile(pattern, re.MULTILINE)) for kind, pattern in (*_ISSUED.items(), *_WITH_VALUE.items())
] + [("a password", re.compile(pattern, re.MULTILINE)) for pattern in _GIVEN]
_UNQUOTED = re.compile(
    rb"(?i)^[ \t-]{0,80}[\w.-]{0,60}(?:(?P<long>token|api[_-]?key|access[_-]?key)|passw(?:or)?d|passphrase|secret)"
    rb"(?:[_-]?key)?[ \t]{0,9}[:=][ \t]{0,9}(?P<value>[^\s'\"#;$<({\[,]{8,200})[ \t\r]*(?:[ \t][#;].{0,200})?$"
)
_LONG = 16
"""Characters of a token; of fewer, a file of settings has names of models and versions under such keys."""
_PLAIN_SETTINGS = re.compile(r"(?i)\.(?:ya?ml|toml|ini|cfg|conf|properties|env)$")
"""Files in which a value needs no quotes. In code, what follows ``password =`` unquoted is a name or a call."""
_PLACEHOLDER = re.compile(
    rb"(?i)x{4,}|\*{3,}|\.\.\.|^[<{$%(\[]|your|example|placeholder|change_?me|dummy|fake|redacted|insert|todo|^test"
)
_WORDS = re.compile(
    rb"(?i)[a-z]*(?:pass|pwd|port|secret|token|key|foo|bar)[a-z]*|[a-z]+(?:[._/:-]+[a-z]+)+[/:]?|[^a-z0-9]+"
)
"""A value that names a thing instead of being one: ``access_token``, ``config.secret``, ``path/to/key``."""
_FILES = re.compile(
    r"(?i)(?:^|/)(?:\.env(?:\.(?!example$|sample$|template$|dist$)[\w-]+)?|[._]netrc|\.pypirc|\.npmrc|\.git-credentials|"
    r"\.pgpass|id_(?:rsa|dsa|ecdsa|ed25519)|service[_-]account[\w-]*\.json|client_secret[\w.-]*\.json|\.htpasswd|\.dockercfg|kubeconfig|"
    r"\.docker/config\.json|\.aws/credentials|\.kube/config|[^/]+\.(?:pem|p12|pfx|ppk|keystore|jks))$"
)


def find_secrets(diff: bytes) -> list[tuple[str, str]]:
    """Return where a difference holds what looks like a secret: (file and line, kind). Never the secret itself."""
    found = []
    places: list[str] = []
    held: list[bytes] = []
    for name, line, text in _held(diff):
        if text is None:
            if _FILES.search(name):
                found.append((name, "a file of credentials, by its name"))
        else:
            places.append(f"{name}:{line}")
            held.append(text)
            if _PLAIN_SETTINGS.search(name) and _is_given(text):
                found.append((places[-1], "a password"))
    return found + [(places[index], kind) for index, kind in _search(held)]


def _is_given(line: bytes) -> bool:
    """Whether a line of a file of settings gives a secret as it is, without quotes."""
    match = _UNQUOTED.match(line)
    if match is None:
        return False
    value = match["value"]
    mixed = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
    enough = not match["long"] or len(value) >= _LONG
    return bool(mixed and enough and not _PLACEHOLDER.search(value) and not _WORDS.fullmatch(value))


def _search(lines: list[bytes]) -> list[tuple[int, str]]:
    """Return (index of a line, kind) of every secret, each kind once per line."""
    starts, length = [], 0
    for line in lines:
        starts.append(length)
        length += len(line) + 1
    text = b"\n".join(lines)
    found: dict[tuple[int, str], None] = {}
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            value = match.groupdict().get("value")
            if value is None or not (_PLACEHOLDER.search(value) or _WORDS.fullmatch(value)):
                found[bisect.bisect_right(starts, match.start()) - 1, kind] = None
    return sorted(found)


def _held(diff: bytes) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield (file, "", None) of every file, and (file, line, text) of every line that the difference shows."""
    name, before, old, new, in_hunk = "?", "?", 0, 0, False
    for text in diff.split(b"\n"):
        if text.startswith(b"diff --git "):
            in_hunk = False
        elif not in_hunk and text.startswith(b"--- "):
            before = _path(text[4:], "a/")
        elif not in_hunk and text.startswith(b"+++ "):
            name = _path(text[4:], "b/")
            name = before if name == "/dev/null" else name
            yield name, "", None
        elif text.startswith(b"@@"):
            match = re.match(rb"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)", text)
            old, new = (int(match[1]), int(match[2])) if match else (0, 0)
            in_hunk = True
            if match and match[3]:
                yield name, f"above {new}", match[3]  # a line of the file that git takes for a heading
        elif in_hunk and text[:1] in (b"+", b"-", b" "):
            line = f"{old} as it was" if text[:1] == b"-" else str(new)
            yield name, line, text[1:].replace(b"\0", b"")  # UTF-16 without its zeros
            old += text[:1] != b"+"
            new += text[:1] != b"-"


def _path(text: bytes, prefix: str) -> str:
    """Return the path of a ``---`` or ``+++`` line, which git quotes where it has unusual characters."""
    name = text.rstrip(b"\t\r").strip(b'"').decode("utf-8", "replace")
    return name.removeprefix(prefix)
