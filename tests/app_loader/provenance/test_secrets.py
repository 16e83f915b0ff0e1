"""Secrets are found in whatever form a difference adds them, ordinary code is not taken for one, none is ever shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from app_loader.credentials import hide_credentials, strip_credentials
from app_loader.errors import ProvenanceError
from app_loader.provenance import find_provenance, find_secrets

Git = Callable[..., str]

# Put together here, so that no scanner of this repository takes them for real ones.
SECRETS = [
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "aws_secret_access_key = " + "a1B2" * 10,
    "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "-----BEGIN PGP PRIVATE " + "KEY BLOCK-----",
    "x = 'ghp_" + "a" * 36 + "'",
    "github_pat_" + "1A" * 20,
    "glpat-" + "aB3_" * 6,
    "hf_" + "b" * 34,
    "xoxb-" + "1234567890-abc",
    "AIza" + "Sy" + "a1B2c" * 6 + "abc",
    "pypi-AgE" + "Ib3" * 20,
    "npm_" + "a1B2" * 9,
    "sk_live_" + "a1B2" * 6,
    "sk-proj-" + "a1B2c3D4" * 5,
    "AccountKey=" + "a1B2" * 11 + "==",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "postgres://admin:" + "hunter22@db.internal:5432/x",
    "machine example.com login " + "me password s3cr3tv4lue",
    '{"Authorization": "Bearer ' + 'a1B2c3D4e5F6g7H8"}',
    'password: str = "' + 'correct4horse"',
    'api_key="' + "c" * 12 + '"',
    "export WANDB_API_KEY=" + "0123456789abcdef" * 2,
]
ORDINARY = [
    "password = getpass.getpass()",
    'token = os.environ["API_TOKEN"]',
    'parser.add_argument("--api-key", default="YOUR_API_KEY_HERE")',
    'password = "<your password>"',
    'secret = "xxxxxxxxxxxx"',
    "def secret_key(self) -> str:",
    'pad_token: str = "[PAD]"',
    'eos_token = "<|endoftext|>"',
    'access_token = "access_token"',
    'api_key = "config.section.api_key"',
    "https://user:password@example.org/path",
    "https://example.org:8080/a@b",
    "git@github.com:team/zoo.git",
    "commit = '0123456789abcdef0123456789abcdef01234567'",
    "digest = 'sha256:" + "ab12" * 16 + "'",
    ".sk-estimator-doc-link.fitted:hover, #sk-container-id-1",
    "MAX_TOKEN_COUNT=4096",
    "TOKENIZERS_PARALLELISM=false",
]


def difference(lines: list[str]) -> bytes:
    added = "".join(f"+{line}\n" for line in lines)
    return f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -0,0 +1,{len(lines)} @@\n{added}".encode()


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_by_its_line(secret: str) -> None:
    assert {place for place, _ in find_secrets(difference(["x = 1", secret]))} == {"x.py:2"}


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_code_is_not_taken_for_a_secret(line: str) -> None:
    assert find_secrets(difference([line])) == []


def test_no_text_takes_long() -> None:
    for text in ("a" * 200_000, "eyJ" * 70_000, "TOKEN" * 40_000, "://" * 70_000, "password:" * 20_000, "sk-" * 70_000):
        assert find_secrets(difference([text])) == []


def test_a_line_that_looks_like_a_header_does_not_hide_what_follows() -> None:
    found = find_secrets(difference(["++ b/other.py", "@@ -1 +100 @@", SECRETS[0]]))
    assert found == [("x.py:3", "an AWS key")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("new.py", SECRETS[0].encode()),
        ("bytes.dat", b"\0\1\2 " + SECRETS[0].encode()),
        ("wide.txt", SECRETS[0].encode("utf-16-le")),
        (".env", b"NAME=value"),
        ("id_rsa", b"whatever"),
        ('qu"oted\n.py', SECRETS[0].encode()),
    ],
)
def test_a_tree_with_a_secret_is_refused_whatever_git_calls_the_file(
    package: Path, git: Git, name: str, content: bytes
) -> None:
    (package.parents[2] / ".gitattributes").write_text("*.py -diff\n*.txt binary\n")
    (package / name).write_bytes(content)
    with pytest.raises(ProvenanceError) as caught:
        find_provenance(package)
    assert SECRETS[0] not in str(caught.value)


def test_a_secret_that_the_commit_has_already_is_no_finding(package: Path, git: Git) -> None:
    (package / "known.py").write_text(f"{SECRETS[0]}\nx = 1\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "too late")
    (package / "known.py").write_text(f"{SECRETS[0]}\nx = 2\n")
    assert find_provenance(package).dirty


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://example.org:port/zoo", "https://example.org:port/zoo"),
        ("https://me:pa/ss@example.org/zoo", "https://example.org/zoo"),
        ("https://me:p@ss@example.org/zoo", "https://example.org/zoo"),
        ("https://me:secret@[::1]:8443/zoo", "https://[::1]:8443/zoo"),
        ("ssh://git:secret@example.org/zoo", "ssh://git@example.org/zoo"),
        ("git:secret@example.org:zoo.git", "git@example.org:zoo.git"),
        ("file:///srv/a@b/zoo", "file:///srv/a@b/zoo"),
        ("helper::https://me:secret@example.org/zoo", "helper::https://example.org/zoo"),
        ("https://example.org/zoo?private_token=secret#x", "https://example.org/zoo"),
    ],
)
def test_a_url_keeps_what_reaches_the_repository_and_nothing_else(url: str, kept: str) -> None:
    assert strip_credentials(url) == kept
    assert "secret" not in hide_credentials(f"fatal: unable to access '{kept}': 403")


def test_an_error_of_git_shows_no_credentials() -> None:
    said = "fatal: unable to access 'https://me:secret@example.org/zoo/': 403, see https://token@example.org"
    assert "secret" not in hide_credentials(said)
    assert "token" not in hide_credentials(said)
