"""Make a module tree, let it drift, and keep the true mapping: material for the property test of the matcher.

Every tensor of the old tree carries a number; the drift moves, renames, joins and resizes nodes, and the truth is
read off the numbers that
arrive. Drift that no signature can show (two equal modules that trade their full names) is never made.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from app_loader.matching import TensorInfo

WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima")
SYNONYMS = {
    "norm1": ("ln_1", "norm_1", "pre_norm", "attn_norm"),
    "norm2": ("ln_2", "norm_2", "post_norm", "mlp_norm"),
    "attn": ("attention", "self_attn", "mixer"),
    "mlp": ("ffn", "feed_forward", "ff"),
    "q_proj": ("query", "to_q", "wq"),
    "k_proj": ("key", "to_k", "wk"),
    "v_proj": ("value", "to_v", "wv"),
    "o_proj": ("out_proj", "to_out", "proj"),
    "fc1": ("linear1", "w_in", "c_fc"),
    "fc2": ("linear2", "w_out", "c_proj"),
    "actor": ("policy", "pi", "policy_net"),
    "critic": ("value", "vf", "value_net"),
    "encoder": ("enc", "feature_extractor", "stem"),
    "blocks": ("layers", "h", "stages"),
    "head": ("classifier", "out", "final"),
    "lstm": ("core", "memory", "rnn"),
    "gate_proj": ("gate", "fc_gate"),
    "up_proj": ("up", "fc_up"),
    "down_proj": ("down", "fc_down"),
}

ONE_OF_MANY = ("Linear", "LayerNorm")


@dataclass
class Node:
    """A module: its class name, its tensors (leaf name to shape and truth) and its children in order."""

    kind: str = "Module"
    tensors: dict[str, tuple[tuple[int, ...], str, Any]] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)


def linear(out: int, inp: int, bias: bool = True) -> Node:
    tensors: dict[str, Any] = {"weight": ((out, inp), "parameter", None)}
    if bias:
        tensors["bias"] = ((out,), "parameter", None)
    return Node("Linear", tensors)


def norm(width: int) -> Node:
    return Node("LayerNorm", {"weight": ((width,), "parameter", None), "bias": ((width,), "parameter", None)})


def batch_norm(width: int) -> Node:
    node = norm(width)
    node.kind = "BatchNorm2d"
    node.tensors.update(
        running_mean=((width,), "buffer", None),
        running_var=((width,), "buffer", None),
        num_batches_tracked=((), "buffer", None),
    )
    return node


def block(rng: random.Random, width: int) -> Node:
    attn = {n: linear(width, width) for n in ("q_proj", "k_proj", "v_proj", "o_proj")}
    if rng.random() < 0.4:
        attn = {"qkv": linear(3 * width, width), "proj": linear(width, width)}
    hidden = rng.choice((width, 2 * width, 4 * width))
    if rng.random() < 0.4:
        mlp = {"gate_proj": linear(hidden, width), "up_proj": linear(hidden, width), "down_proj": linear(width, hidden)}
    else:
        mlp = {"fc1": linear(hidden, width), "fc2": linear(width, hidden)}
    parts = {"norm1": norm(width), "attn": Node("Attention", children=attn)}
    parts |= {"norm2": norm(width), "mlp": Node("Mlp", children=mlp)}
    return Node("Block", children=parts)


def numbered(nodes: list[Node], kind: str = "ModuleList") -> Node:
    return Node(kind, children={str(i): node for i, node in enumerate(nodes)})


def perceptron(rng: random.Random, inp: int, width: int, out: int) -> Node:
    widths = [inp] + [width] * rng.randint(1, 3) + [out]
    layers: dict[str, Node] = {}
    for i, (a, b) in enumerate(pairwise(widths)):
        layers[str(2 * i)] = linear(b, a)
    return Node("Sequential", children=layers)


def make_tree(rng: random.Random) -> Node:
    width = rng.choice((8, 12, 16))
    root = Node("Policy")
    if rng.random() < 0.5:
        convs: list[Node] = []
        channels = 3
        for _ in range(rng.randint(1, 3)):
            conv = Node("Conv2d", {"weight": ((width, channels, 3, 3), "parameter", None)})
            convs.append(Node("ConvBlock", children={"conv": conv, "bn": batch_norm(width)}))
            channels = width
        root.children["stem"] = numbered(convs)
    root.children["encoder"] = linear(width, rng.choice((width, 5, 7)))
    shape = block(random.Random(rng.random()), width)
    root.children["blocks"] = numbered([copy.deepcopy(shape) for _ in range(rng.randint(1, 4))])
    if rng.random() < 0.5:
        root.children["norm"] = norm(width)
    if rng.random() < 0.4:
        root.children["lstm"] = Node(
            "LSTM",
            {
                f"{leaf}_l{i}": (((4 * width, width) if "weight" in leaf else (4 * width,)), "parameter", None)
                for i in range(rng.randint(1, 2))
                for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            },
        )
    root.children["actor"] = perceptron(rng, width, width, 6)
    root.children["critic"] = perceptron(rng, width, width, 1)
    if rng.random() < 0.3:
        root.children["head"] = linear(rng.choice((6, width)), width)
    count = 0
    for node in walk(root):
        for leaf, (size, kind, _) in node.tensors.items():
            node.tensors[leaf] = (size, kind, ("copy", count))
            count += 1
    return root


def walk(node: Node) -> list[Node]:
    found = [node]
    for child in node.children.values():
        found += walk(child)
    return found


def rename_children(node: Node, names: dict[str, str]) -> None:
    if len({names.get(n, n) for n in node.children}) == len(node.children):
        node.children = {names.get(name, name): child for name, child in node.children.items()}


def fresh(node: Node) -> Node:
    node = copy.deepcopy(node)
    for below in walk(node):
        below.tensors = {leaf: (size, kind, None) for leaf, (size, kind, _) in below.tensors.items()}
    return node


def drift(rng: random.Random, tree: Node) -> Node:
    tree = copy.deepcopy(tree)
    for step in rng.sample(STEPS, rng.randint(1, 4)):
        tree = step(rng, tree)
    return tree


def to_synonyms(rng: random.Random, tree: Node) -> Node:
    names = {name: rng.choice(choices) for name, choices in SYNONYMS.items() if rng.random() < 0.5}
    for node in walk(tree):
        rename_children(node, names)
    return tree


def to_words(rng: random.Random, tree: Node) -> Node:
    present = sorted({name for node in walk(tree) for name in node.children if not name.isdigit()})
    words = rng.sample(WORDS, len(WORDS))
    chosen = rng.sample(present, rng.randint(1, min(len(present), 4)))
    names = dict(zip(chosen, words, strict=False))
    for node in walk(tree):
        rename_children(node, names)
    return tree


def renest(rng: random.Random, tree: Node) -> Node:
    names = [name for name in tree.children if not name.isdigit()]
    picked = rng.sample(names, rng.randint(1, len(names)))
    inner = Node("Container", children={name: tree.children[name] for name in picked})
    label = rng.choice(("components", "net", "model", *WORDS[:4]))
    if label in tree.children:
        return tree
    tree.children = {label: inner} | {n: c for n, c in tree.children.items() if n not in picked}
    return tree


def wrap(rng: random.Random, tree: Node) -> Node:
    return Node("Wrapper", children={rng.choice(("module", "_orig_mod", "policy")): tree})


def wrap_leaves(rng: random.Random, tree: Node) -> Node:
    inner = rng.choice(("net", "fn", "layer"))
    kinds = rng.choice((("Linear",), ("LayerNorm",), ("LSTM",)))
    for node in walk(tree):
        node.children = {
            name: Node("Wrap", children={inner: child}) if child.kind in kinds and rng.random() < 2 else child
            for name, child in node.children.items()
        }
    return tree


def permute(rng: random.Random, tree: Node) -> Node:
    for node in walk(tree):
        if node.children and not any(name.isdigit() for name in node.children) and rng.random() < 0.5:
            items = list(node.children.items())
            rng.shuffle(items)
            node.children = dict(items)
    return tree


def fuse(rng: random.Random, tree: Node) -> Node:
    for node in walk(tree):
        for names, label in ((("q_proj", "k_proj", "v_proj"), "qkv"), (("gate_proj", "up_proj"), "gate_up_proj")):
            parts = [node.children[name] for name in names if name in node.children]
            shapes = {str([size for size, _, _ in part.tensors.values()]) for part in parts}
            if len(parts) == len(names) and len(shapes) == 1 and parts[0].tensors:
                whole = Node("Linear")
                for leaf in parts[0].tensors:
                    lengths = [part.tensors[leaf][0] for part in parts]
                    sources = tuple(part.tensors[leaf][2][1] if part.tensors[leaf][2] else None for part in parts)
                    truth = ("cat", sources) if None not in sources else None
                    whole.tensors[leaf] = ((sum(s[0] for s in lengths), *lengths[0][1:]), "parameter", truth)
                node.children = {
                    (label if name == names[0] else name): (whole if name == names[0] else child)
                    for name, child in node.children.items()
                    if name not in names[1:]
                }
    return tree


def lengthen(rng: random.Random, tree: Node) -> Node:
    for node in walk(tree):
        names = list(node.children)
        if node.kind == "ModuleList" and names:
            members = list(node.children.values())
            if rng.random() < 0.5 or len(members) == 1:
                members.insert(rng.randint(0, len(members)), fresh(rng.choice(members)))
            else:
                members.pop(rng.randrange(len(members)))
            node.children = {str(i): member for i, member in enumerate(members)}
    return tree


def insert_in_sequence(rng: random.Random, tree: Node) -> Node:
    for node in walk(tree):
        members = list(node.children.values())
        plain = all("weight" in member.tensors for member in members)
        if node.kind == "Sequential" and plain and rng.random() < 0.6:
            at = rng.randint(0, len(members))
            width = members[at - 1].tensors["weight"][0][0] if at else members[0].tensors["weight"][0][1]
            members.insert(at, norm(width) if rng.random() < 0.5 else linear(width, width))
            step = rng.choice((1, 2))
            node.children = {str(i * step): member for i, member in enumerate(members)}
    return tree


def resize(rng: random.Random, tree: Node) -> Node:
    for node in walk(tree):
        if node.kind == "Linear" and rng.random() < 0.15:
            out, inp = node.tensors["weight"][0]
            node.tensors["weight"] = ((out, inp + 3), "parameter", None)
    return tree


def replace_component(rng: random.Random, tree: Node) -> Node:
    """One layer goes and another of the same shapes comes under a name of its own."""
    parents = [
        node
        for node in walk(tree)
        if node.kind != "Wrap" and any(c.kind in ONE_OF_MANY and not n.isdigit() for n, c in node.children.items())
    ]
    parent = rng.choice(parents)
    gone = rng.choice(
        [name for name, child in parent.children.items() if child.kind in ONE_OF_MANY and not name.isdigit()]
    )
    came = fresh(parent.children[gone])
    children = [(name, child) for name, child in parent.children.items() if name != gone]
    children.insert(rng.randint(0, len(children)), (rng.choice(("auxiliary", "extra", "adapter")), came))
    parent.children = dict(children)
    return tree


def turn(rng: random.Random, tree: Node) -> Node:
    names = {"attn", "mlp", "attention", "ffn"}
    for node in walk(tree):
        for name, child in node.children.items():
            if name not in names:
                continue
            for below in walk(child):
                if below.kind == "Linear":
                    below.kind = "Conv1D"
                    size, kind, truth = below.tensors["weight"]
                    turned = ("transpose", truth[1]) if truth and truth[0] == "copy" else None
                    below.tensors["weight"] = (size[::-1], kind, turned)
    return tree


STEPS = [to_synonyms, to_words, renest, wrap, wrap_leaves, permute, fuse, lengthen, insert_in_sequence, resize]
STEPS += [replace_component, turn]


def signature(tree: Node) -> tuple[list[TensorInfo], dict[str, Any]]:
    found: list[TensorInfo] = []
    truth: dict[str, Any] = {}

    def visit(node: Node, path: str) -> None:
        for leaf, (size, kind, source) in node.tensors.items():
            key = f"{path}{leaf}"
            found.append(
                TensorInfo(key=key, shape=size, dtype="float32", kind=kind, module_type=node.kind, order=len(found))
            )
            truth[key] = source
        for name, child in node.children.items():
            visit(child, f"{path}{name}.")

    visit(tree, "")
    return found, truth


def make_case(rng: random.Random) -> tuple[list[TensorInfo], list[TensorInfo], dict[str, Any]]:
    """Old signature, new signature, and new key to (op, old key or keys), or None where nothing of the old arrives."""
    tree = make_tree(rng)
    old, numbers = signature(tree)
    key_of = {value[1]: key for key, value in numbers.items()}
    new, arrived = signature(drift(rng, tree))
    truth: dict[str, Any] = {}
    for key, value in arrived.items():
        if value is None:
            truth[key] = None
        elif value[0] == "cat":
            truth[key] = ("cat", tuple(key_of[n] for n in value[1]))
        else:
            truth[key] = (value[0], key_of[value[1]])
    return old, new, truth
