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
    "client-key-data: LS0tLS1CRUdJTiBSU0Eg" + "UFJJVkFURSBLRVktLS0tLQo=",
    "key: LS0tLS1CRUdJTi" + "BQUklWQVRFIEtFWS0tLS0tCg==",
    "dckr_" + "pat_" + "a1B2c3D4" * 3,
    "NEPTUNE='eyJhcGlf" + "YWRkcmVzcyI6" + "a1B2c3D4" * 6 + "'",
]
SETTINGS = [
    "  db_password: hunter2" + "hunter2",
    "password = S3cret" + "Pass99   # of the staging server",
    "- wandb_api_key: " + "0123456789abcdef" * 2,
    "auth.token=" + "a1B2c3D4" * 3,
    "client-secret: a1B2" + "c3D4",
]
ORDINARY_SETTINGS = [
    "pad_token: <pad>",
    "eos_token: endoftext2",
    "token: bert-base-uncased",
    "eos_token_id: 50256",
    "password: ${DB_PASSWORD}",
    "password: changeme123",
    "token_limit: 4096",
    "secret: path/to/secret.yaml",
    "tokenizer: gpt2-medium-v1-of-2024",
    "key: a1B2c3D4a1B2c3D4a1B2c3D4",
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


@pytest.mark.parametrize("name", ["a.yaml", "conf/b.YML", "c.ini", "d.toml", ".x.env"])
@pytest.mark.parametrize("line", SETTINGS)
def test_a_secret_without_quotes_is_found_in_a_file_of_settings(name: str, line: str) -> None:
    assert find_secrets(difference([line]).replace(b"x.py", name.encode())) == [(f"{name}:1", "a password")]


@pytest.mark.parametrize("line", ORDINARY_SETTINGS)
def test_ordinary_settings_are_not_taken_for_a_secret(line: str) -> None:
    assert find_secrets(difference([line]).replace(b"x.py", b"a.yaml")) == []


def test_no_text_takes_long() -> None:
    for text in ("a" * 200_000, "eyJ" * 70_000, "TOKEN" * 40_000, "://" * 70_000, "password:" * 20_000, "sk-" * 70_000):
        assert find_secrets(difference([text])) == []
        assert find_secrets(difference([text]).replace(b"x.py", b"x.yaml")) == []


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
        ("ID_ED25519", b"whatever"),
        (".htpasswd", b"me:x"),
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


@pytest.mark.parametrize("edited", ["the next line", "the line itself", "far below", "the file"])
def test_a_secret_of_the_commit_does_not_leave_with_the_difference(package: Path, git: Git, edited: str) -> None:
    """An archive goes where the repository may not go: git shows lines around a change, and what it removed."""
    known = package / "known.py"
    below = "".join(f"    {number}\n" for number in range(20))
    known.write_text(f"{SECRETS[0]} = (\n{below})\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "too late")
    if edited == "the file":
        known.unlink()
    else:
        new = {"the next line": ("    0\n", "    x\n"), "the line itself": (SECRETS[0], "ID")}
        known.write_text(known.read_text().replace(*new.get(edited, ("    15\n", "    x\n"))))
    if edited == "far below":  # not even as a heading of the lines around
        found = find_provenance(package)
        assert found.diff is not None
        assert SECRETS[0].encode() not in found.diff
        return
    with pytest.raises(ProvenanceError) as caught:
        find_provenance(package)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["packages/zoo/toy_zoo/known.py"]


def test_a_file_of_credentials_that_is_removed_stands_in_the_difference(package: Path, git: Git) -> None:
    (package / ".env").write_text("NAME=value\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "too late")
    (package / ".env").unlink()
    with pytest.raises(ProvenanceError) as caught:
        find_provenance(package)
    assert len(caught.value.problems) == 1


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
        ("svn+https://example.org/zoo?token=secret", "svn+https://example.org/zoo"),
        ("s3://bucket/zoo?Signature=secret", "s3://bucket/zoo"),
        ("ssh://git@example.org/zoo?", "ssh://git@example.org/zoo?"),
    ],
)
def test_a_url_keeps_what_reaches_the_repository_and_nothing_else(url: str, kept: str) -> None:
    assert strip_credentials(url) == kept
    assert "secret" not in hide_credentials(f"fatal: unable to access '{kept}': 403")


def test_an_error_of_git_shows_no_credentials() -> None:
    said = "fatal: unable to access 'https://me:secret@example.org/zoo/': 403, see https://token@example.org"
    said += ", and 'https://example.org/zoo?private_token=secret/': 404"
    assert "secret" not in hide_credentials(said)
    assert "': 404" in hide_credentials(said)
    assert "token" not in hide_credentials(said)
