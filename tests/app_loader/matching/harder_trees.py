"""Drift that is made to mislead: twins that shift by one, targets that leave, parts that come back under a used name.

Builds on the trees and the truth by number of `drifting_trees`. Drift that no signature can show (an equal shift under
equal keys, two equal modules that trade their full names) is never made.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from app_loader.matching import TensorInfo
from drifting_trees import STEPS, Node, fresh, linear, make_tree, norm, signature, walk

ODD = ("\u03b1", "naïve", "a-b", "with space", "Ünit", "x\u200by", "CamelCASE9", "_", "__init__", "0x", "日本")


def twins(rng: random.Random, tree: Node) -> Node:
    """A target network, a second critic: the same module twice, made before anything drifts."""
    name = rng.choice([name for name, child in tree.children.items() if child.kind == "Sequential"])
    twin = rng.choice((f"target_{name}", f"{name}_target", f"{name}2", f"old_{name}", "ema"))
    tree.children[twin] = copy.deepcopy(tree.children[name])
    return tree


def renumber(tree: Node) -> Node:
    """Number every tensor anew."""
    count = 0
    for node in walk(tree):
        for leaf, (size, kind, _) in node.tensors.items():
            node.tensors[leaf] = (size, kind, ("copy", count))
            count += 1
    return tree


def drop_child(rng: random.Random, tree: Node) -> Node:
    if len(tree.children) > 2:
        tree.children.pop(rng.choice(list(tree.children)))
    return tree


def shift_named(rng: random.Random, tree: Node) -> Node:
    """`norm1`, `norm2` become `norm2`, `norm3` behind a new `norm1` of their width."""
    for node in walk(tree):
        if "norm1" in node.children and "norm2" in node.children:
            one, two = node.children["norm1"], node.children["norm2"]
            children = {"norm1": fresh(one), "norm2": one, "norm3": two}
            children |= {name: child for name, child in node.children.items() if name not in ("norm1", "norm2")}
            node.children = children
    return tree


def count_from_one(rng: random.Random, tree: Node) -> Node:
    """`fc0`, `fc1` are called `fc1`, `fc2`."""
    for node in walk(tree):
        if node.kind == "Mlp" and {"fc1", "fc2"} <= set(node.children):
            first = rng.choice((1, 2))
            names = {"fc1": f"fc{first + 1}", "fc2": f"fc{first + 2}"}
            node.children = {names.get(name, name): child for name, child in node.children.items()}
    return tree


def swap_order(rng: random.Random, tree: Node) -> Node:
    """Twins without a telling word are registered the other way round under new names."""
    for node in walk(tree):
        names = [name for name, child in node.children.items() if child.kind == "LayerNorm" and not name.isdigit()]
        if len(names) == 2:
            renamed = dict(zip(names, rng.sample(("left", "right", "outer", "inner"), 2), strict=True))
            node.children = {renamed.get(n, n): c for n, c in reversed(list(node.children.items()))}
    return tree


def special_types(rng: random.Random, tree: Node) -> Node:
    """Every class is replaced by a special case of it, or nothing is known of the classes any more."""
    turned = any(leaf[2] and leaf[2][0] == "transpose" for node in walk(tree) for leaf in node.tensors.values())
    unknown = rng.random() < 0.3 and not turned  # of a turned square nothing else would tell
    word = rng.choice(("Quant", "Fast", "Parametrized", "My"))
    for node in walk(tree):
        node.kind = "" if unknown else word + node.kind
    return tree


def fuse_unspelled(rng: random.Random, tree: Node) -> Node:
    """Query, key and value become one tensor in an order that its name does not tell."""
    for node in walk(tree):
        if {"q_proj", "k_proj", "v_proj"} <= set(node.children):
            parts = [node.children[name] for name in rng.sample(("q_proj", "k_proj", "v_proj"), 3)]
            held = [leaf for part in parts for leaf in part.tensors.values()]
            if len(held) != 6 or any(leaf[2] is None or leaf[2][0] != "copy" for leaf in held):
                continue
            whole = linear(1, 1)
            for leaf in ("weight", "bias"):
                shapes = [part.tensors[leaf][0] for part in parts]
                sources = tuple(part.tensors[leaf][2][1] for part in parts)
                whole.tensors[leaf] = ((sum(s[0] for s in shapes), *shapes[0][1:]), "parameter", ("cat", sources))
            rest = {n: c for n, c in node.children.items() if n not in ("q_proj", "k_proj", "v_proj")}
            node.children = {rng.choice(("fused", "mixed", "joined")): whole} | rest
    return tree


def low_rank(rng: random.Random, tree: Node) -> Node:
    """Every layer is wrapped beside two new small ones."""
    for node in walk(tree):
        wrapped = {}
        for name, child in node.children.items():
            if child.kind == "Linear" and "weight" in child.tensors:
                out, inp = child.tensors["weight"][0]
                beside = {"lora_A": fresh(linear(4, inp, bias=False)), "lora_B": fresh(linear(out, 4, bias=False))}
                child = Node("Wrapped", children={"base_layer": child, **beside})
            wrapped[name] = child
        node.children = wrapped
    return tree


def extra_norms(rng: random.Random, tree: Node) -> Node:
    """A normalisation of the same width comes beside every other one, but not where one of its name may have gone."""
    for node in walk(tree)[1:]:
        names = [name for name, child in node.children.items() if child.kind == "LayerNorm"]
        if names and not any(name.isdigit() for name in node.children):
            width = node.children[names[0]].tensors["weight"][0][0]
            came = rng.choice(("post_norm", "pre_norm", "final_norm", "norm"))
            if came not in node.children:
                items = list(node.children.items())
                items.insert(rng.randint(0, len(items)), (came, norm(width)))
                node.children = dict(items)
    return tree


def odd_names(rng: random.Random, tree: Node) -> Node:
    """Names hold characters that no identifier has."""
    present = sorted({name for node in walk(tree) for name in node.children if not name.isdigit()})
    odd = dict(zip(present, (f"{name}{rng.choice(ODD)}" for name in present), strict=True))
    for node in walk(tree):
        node.children = {odd.get(name, name): child for name, child in node.children.items()}
    return tree


HARDER: list[Callable[[random.Random, Node], Node]] = [
    drop_child,
    shift_named,
    count_from_one,
    swap_order,
    fuse_unspelled,
    extra_norms,
    low_rank,
    odd_names,
    special_types,
]
"""In the order in which they are made: the last change what the others look for."""


def make_hard_case(rng: random.Random) -> tuple[list[TensorInfo], list[TensorInfo], dict[str, Any]]:
    """Old signature, new signature, and new key to (op, old key or keys), or None where nothing of the old arrives."""
    tree = make_tree(rng)
    if rng.random() < 0.4:
        tree = twins(rng, tree)
    tree = renumber(tree)
    old, found = signature(tree)
    key_of = {value[1]: key for key, value in found.items()}
    new_tree = copy.deepcopy(tree)
    hard = sorted(rng.sample(HARDER, rng.randint(1, 3)), key=HARDER.index)
    for step in [*rng.sample(STEPS, rng.randint(0, 2)), *hard]:
        new_tree = step(rng, new_tree)
    new, arrived = signature(new_tree)
    truth: dict[str, Any] = {}
    for key, value in arrived.items():
        if value is None:
            truth[key] = None
        elif value[0] == "cat":
            truth[key] = ("cat", tuple(key_of[n] for n in value[1]))
        else:
            truth[key] = (value[0], key_of[value[1]])
    return old, new, truth
