"""What a file is when it is no checkpoint: named from its first bytes.

Knows formats only by their signatures; reads nothing beyond the first kilobytes and decides nothing about safety.

Source: the signatures of the formats named, as their own specifications give them.
"""

from __future__ import annotations

__all__ = ["find_foreign_format", "is_tar_header", "looks_like_pickle"]

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "git-lfs-pointer", "a Git LFS pointer, not the file: run `git lfs pull`"),
    (b"\x1f\x8b", "gzip", "gzip-compressed: unpack it with `gunzip`, then audit what is inside"),
    (b"\xfd7zXZ\0", "xz", "xz-compressed: unpack it with `unxz`, then audit what is inside"),
    (b"BZh", "bzip2", "bzip2-compressed: unpack it with `bunzip2`, then audit what is inside"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd-compressed: unpack it with `unzstd`, then audit what is inside"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4-compressed: unpack it, then audit what is inside"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive: unpack it, then audit what is inside"),
    (b"Rar!\x1a\x07", "rar", "a RAR archive: unpack it, then audit what is inside"),
    (b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file (Keras or other data)"),
    (b"GGUF", "gguf", "a GGUF file (llama.cpp)"),
    (b"ggml", "ggml", "a GGML file (llama.cpp)"),
    (b"%PDF", "pdf", "a PDF document"),
    (b"\x89PNG", "png", "a PNG picture"),
    (b"\xff\xd8\xff", "jpeg", "a JPEG picture"),
    (b"\x7fELF", "elf", "an ELF program or library"),
    (b"MZ", "exe", "a Windows program"),
    (b"SQLite format 3", "sqlite", "an SQLite database"),
    (b"PAR1", "parquet", "a Parquet file"),
    (b"ARROW1", "arrow", "an Arrow file"),
    (b"x\x01", "zlib", "zlib-compressed (joblib or other): unpack it, then audit what is inside"),
    (b"x\x5e", "zlib", "zlib-compressed (joblib or other): unpack it, then audit what is inside"),
    (b"x\x9c", "zlib", "zlib-compressed (joblib or other): unpack it, then audit what is inside"),
    (b"x\xda", "zlib", "zlib-compressed (joblib or other): unpack it, then audit what is inside"),
)


def find_foreign_format(head: bytes) -> tuple[str, str] | None:
    """The short name and a sentence about a format that is no checkpoint, or None when no signature fits."""
    for signature, name, sentence in _SIGNATURES:
        if head.startswith(signature):
            return name, sentence
    if len(head) > 4 and head[0] == 0x08 and 3 <= head[1] <= 40 and head[2] in (0x12, 0x1A, 0x3A):
        return "onnx", "an ONNX model"  # a protobuf whose first field is ir_version, then a producer or a graph
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html", "an HTML page, probably a login or error page saved in place of the file"
    if text.startswith((b"<?xml", b"<error", b"<svg", b"<!doctype")):
        return "xml", "an XML document, probably an error answer saved in place of the file"
    if text.startswith((b"{", b"[")):
        return "json", "a JSON document"
    if not head.strip(b"\0"):
        return "zeros", "nothing but zero bytes: an unfinished download or a sparse hole"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
    if b"\0" not in head:
        return "text", "a text file"
    return None


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header: the checksum at 148 is the sum of the rest."""
    if len(block) < 512 or not block[0]:
        return False
    stored = block[148:156].strip(b" \0")
    try:
        expected = int(stored, 8)
    except ValueError:
        return False
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:512]) == expected


def looks_like_pickle(head: bytes) -> bool:
    """Whether the first bytes are the PROTO opcode of a protocol that exists."""
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
