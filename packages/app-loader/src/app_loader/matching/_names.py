"""Read a state-dict key as words and numbers.

`layers.3.attn.to_qkv.weight` has the words (layers, attn, to, qkv, weight) and the number (3,); its pattern is the
key with every
number replaced by `#`. Role words that mean the same in most code (`query` and `q`) are folded into one more word,
never replaced.
Refuses to judge: words are evidence, the exchange test weighs it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

_PIECE = re.compile(r"\d+|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+")
_NUMBER = re.compile(r"\d+")

# One line per role; the first word names it.
_ROLES = (
    ("norm", "ln", "layernorm", "bn", "batchnorm", "rmsnorm", "groupnorm", "norms"),
    ("attn", "attention", "attentions", "mha", "mhsa", "attns"),
    ("mlp", "ffn", "ff", "feedforward"),
    ("q", "query", "queries", "wq", "qlinear", "qproj", "qlin"),
    ("k", "key", "keys", "wk", "klinear", "kproj", "klin"),
    ("v", "value", "values", "wv", "vlinear", "vproj", "vlin"),
    ("weight", "gamma"),
    ("bias", "beta"),
    ("embed", "embedding", "embeddings", "embedder", "emb"),
    ("pos", "position", "positional", "positions"),
    ("fc", "linear", "dense", "lin"),
    ("proj", "projection", "projector"),
    ("out", "output", "o"),
    ("enc", "encoder"),
    ("dec", "decoder"),
    ("conv", "convs", "convolution", "conv1d", "conv2d"),
    ("head", "heads", "classifier"),
    ("downsample", "downsampling", "down", "downsampler"),
    ("rel", "relative"),
    ("self",),
    ("crossattn", "crossattention", "encoderattn", "encoderattention", "encattn", "encdecattn", "encdecattention"),
    ("cls", "class"),
    ("dist", "distillation"),
    ("pi", "policy", "actor"),
    ("vf", "critic"),
    ("act", "action", "actions"),
    ("obs", "observation", "observations"),
    ("patch", "patches"),
    ("vision", "visual", "image"),
    ("language", "text"),
    ("dw", "depthwise"),
    ("pw", "pointwise"),
)
_ROLE_OF = {word: "~" + group[0] for group in _ROLES for word in group}

# Words that say where in a container a tensor stands, or that it is a tensor: sharing one is no evidence of being the
# same thing.
_PLACES = (
    "model",
    "models",
    "module",
    "modules",
    "net",
    "nets",
    "network",
    "layers",
    "layer",
    "blocks",
    "block",
    "stages",
)
_PLACES_TOO = (
    "stage",
    "backbone",
    "body",
    "components",
    "component",
    "fn",
    "main",
    "list",
    "seq",
    "sequential",
    "orig",
)
_LEAVES = (
    "weight",
    "bias",
    "~weight",
    "~bias",
    "running",
    "mean",
    "var",
    "num",
    "batches",
    "tracked",
    "params",
    "param",
)
GENERIC = frozenset((*_PLACES, *_PLACES_TOO, *_LEAVES, "mod"))

# Words that name a kind of module; modules of one kind share them without being the same module.
_KIND_WORDS = frozenset(("~fc", "~proj", "~conv", "~norm", "~head"))


@lru_cache(maxsize=65536)
def pieces(text: str) -> tuple[str, ...]:
    """Words and numbers of a name in order, in lower case."""
    return tuple(piece.lower() for piece in _PIECE.findall(text))


@lru_cache(maxsize=65536)
def words(text: str) -> frozenset[str]:
    """Words of a name, neighbouring words written as one, initials, and the role that each stands for."""
    plain: set[str] = set()
    for token in text.split("."):
        run = [piece for piece in pieces(token) if not piece.isdecimal()]
        plain.update(run)
        plain.update(left + right for left, right in pairwise(run))
        if len(run) > 1:
            plain.add("".join(piece[0] for piece in run))
    return frozenset(plain | {_ROLE_OF[word] for word in plain if word in _ROLE_OF})


def content_words(text: str) -> frozenset[str]:
    """Words of a name that say what a tensor is, not where it stands."""
    return words(text) - GENERIC


@lru_cache(maxsize=65536)
def folded(text: str) -> frozenset[str]:
    """Words of a name folded into roles, without those that only say where a tensor stands."""
    plain = {piece for piece in pieces(text) if not piece.isdecimal()} - GENERIC
    return frozenset(_ROLE_OF.get(word, word) for word in plain) - GENERIC


@lru_cache(maxsize=65536)
def subject(text: str) -> frozenset[str]:
    """What a name is about: its folded words without those that only name a kind of module."""
    return folded(text) - _KIND_WORDS


@lru_cache(maxsize=65536)
def own_name(key: str) -> str:
    """The end of a key, from the last token on that says what the tensor is about; the whole key when none does."""
    tokens = key.split(".")
    for start in range(len(tokens) - 1, -1, -1):
        if subject(tokens[start]):
            return ".".join(tokens[start:])
    return key


@lru_cache(maxsize=65536)
def module_names(key: str) -> frozenset[str]:
    """Names of the modules above a tensor, without numbers and names that only say where it stands."""
    return frozenset(token for token in key.split(".")[:-1] if not token.isdecimal() and token not in GENERIC)


@lru_cache(maxsize=65536)
def own_words(key: str) -> frozenset[str]:
    """Words at the end of a key that say what the tensor is about, compounds and initials included."""
    return frozenset(
        word
        for word in words(own_name(key)) - GENERIC
        if word not in _KIND_WORDS and _ROLE_OF.get(word) not in _KIND_WORDS
    )


@lru_cache(maxsize=65536)
def leaf_role(key: str) -> str:
    """The part that a tensor plays in its module, where its name is one of the usual ones; empty otherwise."""
    leaf = key.rpartition(".")[2].lower()
    if leaf in ("running_mean", "running_var", "num_batches_tracked"):
        return leaf
    last = [piece for piece in pieces(leaf) if not piece.isdecimal()]
    role = _ROLE_OF.get(last[-1], last[-1]) if last else ""
    return role if role in ("~weight", "~bias") else ""


@lru_cache(maxsize=65536)
def pattern(key: str) -> str:
    """The key with every number replaced by `#`."""
    return _NUMBER.sub("#", key)


@lru_cache(maxsize=65536)
def numbers(key: str) -> tuple[int, ...]:
    """The numbers in a key, in order."""
    return tuple(int(found) for found in _NUMBER.findall(key))


def places(key: str) -> tuple[str, ...]:
    """Where in the numbered lists around it a key stands, outermost first: no numbers within names."""
    return tuple(token for token in key.split(".") if token.isdecimal())


def same_type(one: str, other: str) -> bool:
    """Whether two module types are one, or one is named as a special case of the other.

    `QuantLinear` is a `Linear`: it keeps what its weights mean, and which of their axes is which.
    """
    short, long = sorted((one, other), key=len)
    return short == long or (short[:1].isupper() and long.endswith(short))


def plain_leaf(key: str) -> bool:
    """Whether the tensor has one of the names that modules of every kind use."""
    return key.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def with_number(key: str, position: int, value: str) -> str:
    """The key with its number at `position` replaced by `value`."""
    count = -1

    def replace(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return value if count == position else found.group()

    return _NUMBER.sub(replace, key)


def prefix_through(key: str, position: int) -> str:
    """The key up to the end of the path token that holds its number at `position`."""
    found = list(_NUMBER.finditer(key))[position]
    end = key.find(".", found.end())
    return key if end < 0 else key[:end]


@lru_cache(maxsize=65536)
def parents(key: str) -> tuple[str, ...]:
    """Module paths above a tensor or module, deepest first; the root is the empty string."""
    found = []
    path = key
    while path:
        path = path.rpartition(".")[0]
        found.append(path)
    return tuple(found)
