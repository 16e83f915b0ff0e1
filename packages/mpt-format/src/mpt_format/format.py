"""The constants of the archive format; docs/format.md is the normative text, each line here names its section.

Refuses nothing itself: the reader and the writer do, by these numbers.
"""

from __future__ import annotations

import re
from typing import Final

FORMAT: Final = 1
"""The format that this package writes, and the newest that it reads (section 2).

How to bump it:

1. Ask whether a bump is needed. A new optional field or member that an old reader may ignore raises ``REVISION`` only.
   A changed meaning, a removed field, another layout of bytes raises ``FORMAT``.
2. Freeze the reader of the old format: copy the modules that read it to ``mpt_format/formats/v<old>/`` and never edit
   them again except for security. ``open_archive`` picks the reader by ``format``; reading never converts.
3. Raise ``FORMAT`` by one, set ``REVISION`` to 0, and ``MIN_READER`` to the lowest reader that still understands the
   new files.
4. Write the new text in docs/format.md, keep the old one as docs/format-<old>.md, add
   ``schemas/manifest-<new>.json``; the old schema stays in the wheel.
5. Add the step old -> new to the verb ``mpt upgrade``, which the first bump writes: one step per bump, it checks that
   the number moved, and writes a new file beside the one it read.
6. Add ``tests/goldens/format_<new>/`` with the script that made it. The goldens of every older format stay as they are
   and must keep opening with the same digests.
7. A changelog fragment ``<topic>.change.md`` and a minor release of mpt-format (major when a reader was dropped).
"""

REVISION: Final = 0
"""Additions within the format: a reader keeps unknown fields and members of a newer revision (section 2)."""

MIN_READER: Final = 1
"""The lowest format that a reader must implement to read what this package writes (section 2)."""

MANIFEST: Final = "manifest.json"
ARCHITECTURE: Final = "policy_architecture.yaml"
GAME_RULES: Final = "game_rules.json"
EXTRA_STATE: Final = "extra_state.json"
TRAINING: Final = "training.json"
README: Final = "README.md"
SOURCE_DIFF: Final = "source.diff"
PYLOCK: Final = "pylock.toml"
WITNESS: Final = "witness.safetensors"
WEIGHTS: Final = "weights.safetensors"

MEMBER_ORDER: Final = (  # section 4: the only names, in the only order; trainer/ stands before the weights
    MANIFEST,
    ARCHITECTURE,
    GAME_RULES,
    EXTRA_STATE,
    TRAINING,
    README,
    SOURCE_DIFF,
    PYLOCK,
    WITNESS,
)
TRAINER_MEMBER: Final = re.compile(r"trainer/[a-z0-9_]{1,64}\.(json|safetensors)")  # section 4
FUTURE_MEMBER: Final = re.compile(
    r"[a-z0-9_]{1,64}(/[a-z0-9_]{1,64})?(\.[a-z0-9]{1,16}){1,2}"
)  # section 4, newer revision

ALIGNMENT_BYTES: Final = 4096  # section 3.3: data of *.safetensors members starts at a multiple of this
BUFFER_ALIGNMENT_BYTES: Final = 64  # section 5.1: the tensor buffer starts at a multiple of this within the file
PADDING_EXTRA_ID: Final = 0xD935  # section 3.3: the zipalign extra field
ZIP64_EXTRA_ID: Final = 0x0001  # APPNOTE 4.5.3

MAX_MEMBERS: Final = 256  # section 7.3
MAX_MANIFEST_BYTES: Final = 64 << 20  # section 7.3
MAX_DOCUMENT_BYTES: Final = 64 << 20  # section 7.3: any member that is not *.safetensors
MAX_ARCHITECTURE_BYTES: Final = 1 << 20  # section 7.3
MAX_HEADER_BYTES: Final = 100_000_000  # section 7.3; the limit of the safetensors reference implementation
MAX_TEXT_NODES: Final = 4_000_000  # section 7.3: commas and colons in one JSON text
MAX_CONTAINERS: Final = 1_000_000  # section 7.3: objects and arrays in one JSON text
MAX_DEPTH: Final = 64  # section 7.3: nesting of JSON and YAML
MAX_YAML_NODES: Final = 20_000  # section 7.3
MAX_NAME_CHARACTERS: Final = 1024  # section 7.3: name of a tensor or module
MAX_DIMENSIONS: Final = 64  # section 7.3


def member_rank(name: str) -> tuple[int, str]:
    """Return the sort key that puts members in the order of section 4."""
    if name == WEIGHTS:
        return (len(MEMBER_ORDER) + 2, name)
    if name in MEMBER_ORDER:
        return (MEMBER_ORDER.index(name), name)
    if TRAINER_MEMBER.fullmatch(name):
        return (len(MEMBER_ORDER), name)
    return (len(MEMBER_ORDER) + 1, name)


def is_known_member(name: str) -> bool:
    """Tell whether the name is in the closed list of this format."""
    return name == WEIGHTS or name in MEMBER_ORDER or TRAINER_MEMBER.fullmatch(name) is not None
