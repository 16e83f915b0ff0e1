"""Signatures beside an archive: who vouches for these bytes.

The work is done by the model-signing library (extra ``sign``) with an elliptic curve key; it runs offline. The
signature is a Sigstore bundle in a file of its own, so that signing changes no byte of the archive. It covers the whole
file, `created` included. A digest says that bytes are whole; only a signature says whose they are.

Source: OpenSSF Model Signing (OMS) 1.0, in-toto statement in a DSSE envelope.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mpt_format.byte_source import LocalSource
from mpt_format.errors import ArchiveProblem, ArchiveWriteError, MissingExtraError, SignatureError

SUFFIX = ".sig"


def signature_path(path: str | os.PathLike[str]) -> Path:
    """Return where an archive's signature stands: ``run.mpt`` -> ``run.mpt.sig``."""
    return Path(os.fspath(path) + SUFFIX)


def sign_archive(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    password: str | None = None,
    signature: str | os.PathLike[str] | None = None,
) -> Path:
    """Sign a file with a private key.

    Args:
        path: the archive.
        key: an elliptic curve private key in PEM (P-256, P-384 or P-521).
        password: of the key, if it is encrypted.
        signature: where to write; None means beside the archive.

    Returns:
        The signature's path.

    Raises:
        ArchiveNotFoundError: no such archive.
        SignatureError: the key cannot be used.
        ArchiveWriteError: the signature cannot be written.
        MissingExtraError: the extra is not installed.
    """
    LocalSource(path).close()  # says what is wrong with the path before the library does
    target = Path(signature) if signature is not None else signature_path(path)
    signing = _library("signing")
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=Path(key), password=password)
    except Exception as error:  # the library raises whatever its own libraries raise
        raise _problem(path, f"the key {os.fspath(key)!r} cannot be used: {error}") from None
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        config.sign(Path(path), temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        problem = ArchiveProblem(where="signature", message=error.strerror or str(error))
        raise ArchiveWriteError(str(target), [problem], error.errno) from error
    except Exception as error:
        temporary.unlink(missing_ok=True)
        raise _problem(path, f"could not be signed: {error}") from None
    return target


def check_signature(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    signature: str | os.PathLike[str] | None = None,
) -> None:
    """Compare a file with its signature.

    Args:
        path: the archive.
        key: the public key in PEM of whoever is trusted.
        signature: its path; None means beside the archive.

    Raises:
        ArchiveNotFoundError: no such archive.
        SignatureError: no signature, by another key, or of other bytes.
        MissingExtraError: the extra is not installed.
    """
    LocalSource(path).close()
    source = Path(signature) if signature is not None else signature_path(path)
    if not source.is_file():
        raise _problem(path, f"there is no signature at {os.fspath(source)!r}")
    verifying = _library("verifying")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=Path(key)).verify(Path(path), source)
    except Exception as error:  # ValueError, KeyError, JSONDecodeError, InvalidSignature, ...: none of them vouches
        raise _problem(path, f"{type(error).__name__}: {' '.join(str(error).split())}") from None


def _library(module: str) -> Any:
    try:
        import importlib

        return importlib.import_module(f"model_signing.{module}")
    except ImportError:
        raise MissingExtraError("sign", "signing and checking signatures") from None


def _problem(path: str | os.PathLike[str], message: str) -> SignatureError:
    return SignatureError(os.fspath(path), [ArchiveProblem(where="signature", message=message)])
