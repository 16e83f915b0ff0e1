"""Say something useful about what stays open: a suggestion where one pairing is ahead, candidates where none is."""

from __future__ import annotations

from collections import Counter, defaultdict

from app_loader.matching._features import features
from app_loader.matching._names import places
from app_loader.matching._state import Scope, State
from app_loader.matching.context import classes_by_module, judge_class
from app_loader.matching.exchange import Verdict
from app_loader.matching.signature import Match

_SHOWN = 8
"""So many candidates are told of a tensor."""


def suggest_rest(state: State) -> list[Match]:
    """Suggest or abstain for every open new tensor."""
    modules = state.module_map()
    old, new = features(state, modules)
    best: dict[str, str] = {}
    for scope in Scope:
        state.group(scope)
        for path, classes in classes_by_module(state, modules):
            for before, after in classes:
                for pair, verdict in judge_class(state, before, after, old, new, path):
                    if verdict >= Verdict.ORDER_ONLY:
                        for key, source in state.members(pair.new, pair.old):
                            best.setdefault(key, source)
    taken = Counter(best.values())
    by_class: dict[object, list[str]] = defaultdict(list)
    by_place: dict[object, list[str]] = defaultdict(list)
    for key in state.open_old():
        kind = state.old.class_of(key)
        by_class[kind].append(key)
        by_place[kind, places(key)].append(key)
    found = []
    for key in state.open_new():
        kind = state.new.class_of(key)
        near, far = by_place.get((kind, places(key)), [])[:_SHOWN], by_class.get(kind, [])[:_SHOWN]
        candidates = tuple(dict.fromkeys([*near, *far]))[:_SHOWN]
        said = state.evidence.get(key, ())
        if key in best and taken[best[key]] == 1:
            found.append(
                Match(
                    new=key,
                    old=best[key],
                    confidence="suggest",
                    evidence=(*said, "order of registration agrees, but nothing else tells it from its rivals"),
                    candidates=candidates,
                )
            )
            continue
        if not candidates:
            said = (*said, f"no open old tensor has shape {list(state.new.by_key[key].shape)}")
        found.append(Match(new=key, old=None, confidence="abstain", evidence=said, candidates=candidates))
    return found
