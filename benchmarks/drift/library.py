"""How much of a real library's change is drafted with both releases at hand, and whether the proof of the draft holds.

    uv run --no-sync python benchmarks/drift/library.py
    uv run --no-sync python benchmarks/drift/library.py --only pit nest --folder /var/tmp

Two releases of vit-pytorch are fetched with uv, their modules packed as they are into two wheels of a zoo (beside
einops; the package's own `__init__` is left out, for it imports what no model here needs), and a policy around one
model is saved with the old one. `mpt migrate draft` then has both codes and the witness. The draft is taken as a person
would who agrees with everything certain and answers nothing: where no question is left it is marked as reviewed, put
into a release of the zoo and followed by `mpt migrate --prove`.

What counts is every new tensor that can change an output and that an old one can give; two models compute something
else since, and their new tensors are to stay questions. The claims are right when the new code with them, on shaken
weights and observations that the draft has not seen, does what the old code does. `signatures` is what the same draft
is certain of without running anything. `--nameless` gives the trial no signature at all: every tensor is to be found
by what it computes. Exit code 1 when a claim is wrong or a proof does not hold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from app_loader import Store, save_policy
from app_loader.code import StoredCode
from app_loader.load import load_with, resolve_archive
from app_loader.migration.draft import draft_revision
from app_loader.migration.draft.draft import Draft
from app_loader.migration.draft.settle_both import settle_with_both
from app_loader.migration.draft.shaken import shake
from app_loader.migration.draft.tries import Tries
from app_loader.migration.draft.ways import made
from app_loader.migration.write import migrate_archive
from app_loader.revisions.lazy import LazyTensor
from app_loader.revisions.signatures import module_signature
from app_loader.revisions.tensors import TensorState, apply_tensor_ops
from app_loader.witness import draw_observations, record_witness, replay_witness
from mpt_format import open_archive
from policy_interface import DiscreteActions, Feature, GameRules, ImageLayout, Policy
from policy_interface.migrations import Choose, Drop
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "app_loader" / "migration"))

from history_zoo import pack_files

EINOPS = "0.8.1"
IMAGE = 64
ACTIONS = 5

VIT = "image_size=64, patch_size=16, num_classes=5, dim=32, depth=3, heads=2, mlp_dim=64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One model in two releases.

    Attributes:
        package: as it is imported.
        module: of the package.
        call: makes the model.
        old: the release that trained.
        new: the release of today.
        without_source: how many tensors of the new code no old one gives, because it computes something else.
    """

    module: str
    call: str
    old: str
    new: str
    package: str = "vit_pytorch"
    without_source: int = 0


PAIRS = {
    "vit": Pair(module="vit", call=f"ViT({VIT})", old="1.0.0", new="1.10.0"),
    "deepvit": Pair(module="deepvit", call=f"DeepViT({VIT})", old="1.0.0", new="1.10.0"),
    "pit": Pair(
        module="pit",
        call="PiT(image_size=64, patch_size=8, dim=32, num_classes=5, depth=(2, 2), heads=2, mlp_dim=64)",
        old="0.20.0",
        new="1.10.0",
    ),
    "cait": Pair(
        module="cait",
        call=f"CaiT({VIT}, cls_depth=2)",
        old="1.0.0",
        new="1.10.0",
        without_source=4,  # two normalisations around the patches that the old code has not
    ),
    "cvt": Pair(
        module="cvt",
        call="CvT(num_classes=5, s1_emb_dim=16, s1_heads=1, s1_depth=1, s2_emb_dim=32, s2_heads=2, s2_depth=2, "
        "s3_emb_dim=48, s3_heads=2, s3_depth=2)",
        old="1.0.0",
        new="1.10.0",
    ),
    "nest": Pair(
        module="nest",
        call="NesT(image_size=64, patch_size=4, dim=24, heads=2, num_hierarchies=3, block_repeats=(1, 1, 2), "
        "num_classes=5)",
        old="1.0.0",
        new="1.10.0",
    ),
    "parallel_vit": Pair(
        module="parallel_vit", call=f"ViT({VIT}, num_parallel_branches=2)", old="0.40.2", new="1.10.0"
    ),
    "scalable_vit": Pair(
        module="scalable_vit",
        call="ScalableViT(num_classes=5, dim=16, heads=(1, 2, 2, 2), depth=(1, 1, 2, 1), ssa_dim_key=(8, 8, 8, 8), "
        "reduction_factor=(4, 2, 2, 1), window_size=(16, 8, None, None), dropout=0.0)",
        old="0.40.2",
        new="1.10.0",
    ),
    "mobile_vit": Pair(
        module="mobile_vit",
        call="MobileViT(image_size=(64, 64), dims=[16, 24, 32], channels=[8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 32], "
        "num_classes=5, kernel_size=3, patch_size=(1, 1))",
        old="0.40.2",
        new="1.10.0",
    ),
    "max_vit": Pair(
        module="max_vit",
        call="MaxViT(num_classes=5, dim=16, dim_conv_stem=16, depth=(1, 1), dim_head=8, window_size=4, dropout=0.0)",
        old="0.40.2",
        new="1.10.0",
    ),
    "levit": Pair(
        module="levit",
        call="LeViT(image_size=64, num_classes=5, stages=2, dim=(16, 32), depth=2, heads=(2, 4), mlp_mult=2)",
        old="0.40.2",
        new="1.10.0",
    ),
    "regionvit": Pair(
        module="regionvit",
        call="RegionViT(dim=(8, 16, 16, 16), depth=(1, 1, 1, 1), window_size=2, num_classes=5)",
        old="0.40.2",
        new="1.10.0",
    ),
    "rvt": Pair(module="rvt", call=f"RvT({VIT})", old="0.40.2", new="1.10.0"),
    "vit_for_small_dataset": Pair(module="vit_for_small_dataset", call=f"ViT({VIT})", old="1.0.0", new="1.10.0"),
    "simple_vit": Pair(  # the last normalisation stands before the mean over tokens now, and stood after it
        module="simple_vit", call=f"SimpleViT({VIT})", old="1.0.0", new="1.10.0", without_source=2
    ),
}

POLICY = """
from typing import ClassVar

from policy_interface import Capability, Policy, PolicyArchitecture, PolicyOutput
from torch import nn
from {package} import {module}


class VisionArchitecture(PolicyArchitecture):
    kind: ClassVar[str] = "vision"

    def make_policy(self, rules):
        return Vision(self, rules)


class Vision(nn.Module, Policy):
    def __init__(self, architecture, rules):
        super().__init__()
        self.architecture, self.rules = architecture, rules
        self.capabilities = frozenset({{Capability.LOGITS}})
        self.model = {module}.{call}

    @property
    def module(self):
        return self

    def initial_state(self, batch_size):
        return {{}}

    def act(self, observation, state, *, action=None, deterministic=True, generator=None):
        logits = self.model(observation)
        return PolicyOutput(action=logits.argmax(-1) if action is None else action, state={{}}, logits=logits)
"""

RULES = GameRules(
    features=(Feature(name="screen", id=0, shape=(3, IMAGE, IMAGE), low=-1.0, high=1.0),),
    layout=ImageLayout(),
    actions=DiscreteActions.of(*"abcde"),
)


def fetch(requirement: str, folder: Path) -> Path:
    """Install one release into a folder of its own and return it."""
    target = folder / requirement.replace("==", "-")
    if not target.exists():
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target), requirement], check=True
        )
    return target


def zoo_files(pair: Pair, release: str, folder: Path) -> dict[str, str]:
    """Return the modules of a zoo around one release."""
    files = {"vision_zoo/__init__.py": POLICY.format(package=pair.package, module=pair.module, call=pair.call)}
    files[f"{pair.package}/__init__.py"] = ""
    wanted = {pair.package: f"{pair.package.replace('_', '-')}=={release}", "einops": f"einops=={EINOPS}"}
    for package, requirement in wanted.items():
        root = fetch(requirement, folder)
        for path in sorted((root / package).rglob("*.py")):
            files.setdefault(str(path.relative_to(root)), path.read_text("utf-8"))
    return files


POINTS = "[policy_interface.architectures]\nvision = vision_zoo:VisionArchitecture\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one model.

    Attributes:
        name: of the model, with both releases.
        tensors: new tensors that can change an output.
        signatures: how many of these are certain without running anything.
        certain: how many are certain with both codes and the witness.
        questions: what the draft leaves to a person.
        as_well: whether the claims do what the old code does on weights and observations the draft has not seen; None
            where questions are left.
        proof: what `mpt migrate --prove` said.
        seconds: of the draft.
    """

    name: str
    tensors: int
    signatures: int
    certain: int
    questions: int
    as_well: bool | None
    proof: str
    seconds: float


def measure(name: str, pair: Pair, work: Path, downloads: Path) -> Row:
    """Save, draft, finish, migrate, prove."""
    store = Store(work / "store")
    old = store.add([pack_files(work / "wheels", "vision-zoo", "1.0.0", zoo_files(pair, pair.old, downloads), POINTS)])
    files = zoo_files(pair, pair.new, downloads)
    store.add([pack_files(work / "wheels", "vision-zoo", "2.0.0", files, POINTS)])
    torch.manual_seed(0)
    policy = StoredCode(old).architecture_class("vision")().make_policy(RULES)
    path = work / "run.mpt"
    save_policy(policy, path)
    certain = {
        m.new for m in draft_revision(path, code="2.0.0", store=store, trial=False).matches if m.confidence == "auto"
    }
    began = time.perf_counter()
    draft = draft_revision(path, code="2.0.0", store=store)
    seconds = time.perf_counter() - began
    claimed = {m.new for m in draft.matches if m.confidence == "auto"}
    questions = [op.key for op in draft.tensors if isinstance(op, Choose | Drop)]
    judge = Judge(path, store, draft)
    as_well = None if questions else judge.as_well()
    counted = {key for key in judge.keys if questions or judge.influential(key)}
    proof = "questions are left"
    if not questions:
        text = draft.text.replace("reviewed=False", "reviewed=True") + "\nREVISIONS = (REVISION,)\n"
        points = POINTS + "[policy_interface.migrations]\nvision = vision_zoo.migrations:REVISIONS\n"
        files = {**files, "vision_zoo/migrations.py": text}
        store.add([pack_files(work / "wheels", "vision-zoo", "2.0.1", files, points)])
        report = migrate_archive(path, work / "new.mpt", code="2.0.1", store=store, unproven=True)
        assert report.proof is not None
        proof = f"{'held' if report.proof.held else 'NOT held'}, {report.proof.largest:.1g}; {report.round_trip}"
    return Row(
        name=f"{name} {pair.old} -> {pair.new}",
        tensors=len(counted) - pair.without_source,
        signatures=len(counted & certain),
        certain=len(counted & claimed),
        questions=len(questions),
        as_well=as_well,
        proof=proof,
        seconds=seconds,
    )


class Judge:
    """Runs both codes on weights and observations that the draft has not seen."""

    def __init__(self, path: Path, store: Store, draft: Draft) -> None:
        with open_archive(path) as archive:
            self.old: Policy = load_with(archive, resolve_archive(archive, "1.0.0", store)).unwrap()
            code = resolve_archive(archive, "2.0.0", store).chosen
            assert code is not None and code.code is not None
            self.new: Policy = code.code.architecture_class("vision")().make_policy(RULES)
        assert self.old.module is not None and self.new.module is not None
        self.new.module.eval()
        buffers = frozenset(name for name, _ in self.old.module.named_buffers())
        self.weights = shake(self.old.module.state_dict(), buffers=buffers, seed=99)
        self.old.module.load_state_dict(self.weights)
        shown = draw_observations(RULES, seed=77, steps=1, batch=8)
        self.witness = record_witness(self.old, observations=shown)
        self.draft = draft
        self.keys = list(self.new.module.state_dict())

    def claimed(self) -> dict[str, Tensor]:
        """Return the new tensors that the draft makes of the shaken weights."""
        state = TensorState.of({key: LazyTensor.of(value) for key, value in self.weights.items()})
        apply_tensor_ops(state, self.draft.tensors, {}, subject="the draft")
        return {key: lazy.make() for key, lazy in state.tensors.items()}

    def same(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether the new code does with these what the old one did."""
        assert self.new.module is not None
        self.new.module.load_state_dict(dict(tensors))
        try:
            return replay_witness(self.new, self.witness).met
        except (RuntimeError, IndexError):  # a table of places with other numbers may point nowhere
            return False

    def as_well(self) -> bool:
        """Tell whether all claims together do."""
        return self.same(self.claimed())

    def influential(self, key: str) -> bool:
        """Tell whether other numbers in a tensor change an output."""
        right = self.claimed()
        value = right[key]
        other = value + 1 if not value.dtype.is_floating_point else value * 1.5 + 0.1
        return not self.same({**right, key: other})


def measure_nameless(name: str, pair: Pair, work: Path, downloads: Path) -> str:
    """Give every new tensor a source by running both codes alone, and tell what came of it as a row."""
    store = Store(work / "store")
    policies = []
    for version, release in (("1.0.0", pair.old), ("2.0.0", pair.new)):
        entry = store.add(
            [pack_files(work / "wheels", "vision-zoo", version, zoo_files(pair, release, downloads), POINTS)]
        )
        torch.manual_seed(0)
        policies.append(StoredCode(entry).architecture_class("vision")().make_policy(RULES).module)
    old, new = policies
    assert old is not None and new is not None
    (olds, _), (news, _) = module_signature(old), module_signature(new)
    tries, began = Tries(seconds=600), time.perf_counter()
    settled = settle_with_both(
        old,
        new,
        weights={key: value.detach().clone() for key, value in old.state_dict().items()},
        certain=lambda tensors: {},
        open_new=news,
        open_old=olds,
        buffers=frozenset(info.key for info in olds if info.kind == "buffer"),
        recorded=None,
        tries=tries,
    )
    seconds = time.perf_counter() - began
    found = {} if settled is None else settled.matches
    buffers = frozenset(name for name, _ in old.named_buffers())
    weights = shake(old.state_dict(), buffers=buffers, seed=99)
    old.load_state_dict(weights)
    like = new.state_dict()
    claimed = {**like, **{key: made(match, weights, like[key]).clone() for key, match in found.items()}}
    witness = record_witness(old, observations=draw_observations(RULES, seed=77, steps=1, batch=8))

    def same(tensors: Mapping[str, Tensor]) -> bool:
        new.load_state_dict(dict(tensors))
        return replay_witness(new, witness).met

    as_well = same(claimed)
    silent = sum(same({**claimed, info.key: claimed[info.key] * 1.5 + 0.1}) for info in news if info.key not in found)
    cells = f"{name} {pair.old} -> {pair.new} | {len(news) - silent} | {len(found)} | {as_well} | {tries.made}"
    return f"| {cells} | {seconds:.0f} |"


HEAD = ("model", "tensors", "signatures", "both codes", "questions", "as well", "proof", "seconds")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--folder", type=Path, help="where to work; the system's temporary folder when left out")
    parser.add_argument("--nameless", action="store_true", help="find every tensor by what it computes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.nameless:
        print("| model | tensors | certain | as well | runs | seconds |\n|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for name in options.only:
                print(measure_nameless(name, PAIRS[name], Path(folder) / name, Path(folder) / "downloads"), flush=True)
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        downloads = Path(folder) / "downloads"
        for name in options.only:
            rows.append(measure(name, PAIRS[name], Path(folder) / name, downloads))
            print(rows[-1], file=sys.stderr, flush=True)
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for row in rows:
        share = f"{row.certain}/{row.tensors}"
        cells: list[Any] = [row.name, row.tensors, row.signatures, share, row.questions, row.as_well, row.proof]
        print("| " + " | ".join(map(str, cells)) + f" | {row.seconds:.0f} |")
    return int(any(row.as_well is False or "NOT" in row.proof for row in rows))


if __name__ == "__main__":
    sys.exit(main())
