"""Signatures with local keys, offline; the library runs in a process of its own, as the command does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mpt_format import ArchiveContent, BytesPayload, ModuleState, StoredTensor, write_archive


def mpt(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mpt_format.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def path(tmp_path: Path) -> Path:
    payload = BytesPayload(dtype="U8", shape=(3,), data=b"abc")
    state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
    return write_archive(tmp_path / "run.mpt", ArchiveContent(state=state)).path


def test_a_signature_vouches_for_these_bytes_and_this_key_alone(path: Path, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path, "mine")
    _, stranger = make_keys(tmp_path, "stranger")
    before = path.read_bytes()
    signed = mpt("sign", path, "--key", private)
    assert signed.returncode == 0, signed.stderr
    assert path.read_bytes() == before
    assert (tmp_path / "run.mpt.sig").is_file()
    assert mpt("verify", path, "--key", public).returncode == 0
    by_stranger = mpt("verify", "--json", path, "--key", stranger)
    assert by_stranger.returncode == 1
    assert '"SignatureError"' in by_stranger.stdout
    payload = BytesPayload(dtype="U8", shape=(3,), data=b"abd")
    state = ModuleState(tensors={"x": StoredTensor(payload=payload, kind="buffer")})
    write_archive(path, ArchiveContent(state=state))
    of_other_bytes = mpt("verify", "--json", path, "--key", public)
    assert of_other_bytes.returncode == 1
    assert '"SignatureError"' in of_other_bytes.stdout


def test_no_signature_and_no_sense_are_refused(path: Path, tmp_path: Path) -> None:
    _, public = make_keys(tmp_path, "mine")
    assert mpt("verify", path, "--key", public).returncode == 1
    (tmp_path / "run.mpt.sig").write_text("not a signature")
    assert "SignatureError" in mpt("verify", path, "--key", public).stdout
    assert "SignatureError" in mpt("sign", path, "--key", public).stderr  # a public key signs nothing
