"""Lightning's and the predecessor's checkpoints become archives whose policy computes what the original computed.

The originals are written out here in the names and the layout that their libraries use (Lightning 2.6's
`Trainer.save_checkpoint`; Metta's `.mpt` of October 2025 and its `ViTDefaultConfig`), with torch's own functions, so
that neither library is needed. The zoo in `assets/foreign_zoo` has other names and other code.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from app_loader import Store, load_policy
from click.testing import CliRunner
from mpt_format.cli.convert import convert
from policy_interface import DiscreteActions, Feature, GameRules, Policy
from policy_interface.observations import TokenLayout
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from tests.mpt_format.convert.conftest import ASSETS

OBSERVATIONS = 1000
TOKENS, FEATURES, PADDING = 60, 8, 255


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


def convert_and_load(source: Path, kind: str, key_map: str, rules: GameRules, wheel: Path, store: Store) -> Policy:
    folder = source.parent
    (folder / "rules.json").write_text(json.dumps(rules.to_document()))
    arguments = [str(source), "-o", str(folder / "run.mpt"), "--kind", kind, "--rules", str(folder / "rules.json")]
    arguments += ["--map", str(ASSETS / key_map), "--wheel", str(wheel)]
    result = CliRunner().invoke(convert, arguments)
    assert result.exit_code == 0, result.output
    return load_policy(folder / "run.mpt", store=store)


def test_lightning_module_gives_the_same_logits(tmp_path: Path, foreign_wheel: Path, foreign_store: Store) -> None:
    net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
    statistics = {"obs_mean": torch.randn(4), "obs_std": torch.rand(4) + 0.5}
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 8,
        "global_step": 96,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": statistics | {f"net.{name}": tensor for name, tensor in net.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 8}}}},
        "callbacks": {"EarlyStopping{'monitor': 'loss', 'mode': 'min'}": {"best_score": torch.tensor(0.25)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"obs_dim": 4, "n_actions": 2, "hidden": 32},
    }
    torch.save(checkpoint, tmp_path / "model.ckpt")
    rules = GameRules(
        features=tuple(Feature(name=name, id=at) for at, name in enumerate("abcd")),
        actions=DiscreteActions.of("left", "right"),
    )
    policy = convert_and_load(
        tmp_path / "model.ckpt", "foreign_cloned", "lightning_cloned.yaml", rules, foreign_wheel, foreign_store
    )

    observations = torch.randn(OBSERVATIONS, 4) * 3
    with torch.no_grad():
        expected = net((observations - statistics["obs_mean"]) / statistics["obs_std"])
        output = policy.act(observations, policy.initial_state(OBSERVATIONS))
    assert output.logits is not None
    torch.testing.assert_close(output.logits, expected)
    assert torch.equal(output.action, expected.argmax(dim=1))


def make_ancestor_weights() -> dict[str, Tensor]:
    """Random weights in the names and shapes of Metta's `ViTDefaultConfig` policy."""
    size, words, memory, layers = 64, 21, 32, 2
    shapes: dict[str, tuple[int, ...]] = {
        "obs_attr_embed_fourier.func._attr_embeds.weight": (256, 8),
        "obs_perceiver_latent.func.latents": (1, 12, size),
        "obs_perceiver_latent.func.token_norm.weight": (words,),
        "obs_perceiver_latent.func.token_norm.bias": (words,),
        "obs_perceiver_latent.func.k_proj.weight": (size, words),
        "obs_perceiver_latent.func.v_proj.weight": (size, words),
        "obs_perceiver_latent.func.final_norm.weight": (size,),
        "obs_perceiver_latent.func.final_norm.bias": (size,),
        "lstm.func.net.weight_ih_l0": (4 * memory, size),
        "lstm.func.net.weight_hh_l0": (4 * memory, memory),
        "lstm.func.net.bias_ih_l0": (4 * memory,),
        "lstm.func.net.bias_hh_l0": (4 * memory,),
        "actor_mlp.func.network.module.0.module.weight": (256, memory),
        "actor_mlp.func.network.module.0.module.bias": (256,),
        "actor_mlp.func.network.module.2.module.weight": (256, 256),
        "actor_mlp.func.network.module.2.module.bias": (256,),
        "actor_head.func._module.module.weight": (5, 256),
        "actor_head.func._module.module.bias": (5,),
        "critic.func.network.module.0.module.weight": (512, memory),
        "critic.func.network.module.0.module.bias": (512,),
        "critic.func.network.module.2.module.weight": (1, 512),
        "critic.func.network.module.2.module.bias": (1,),
    }
    for at in range(layers):
        layer = f"obs_perceiver_latent.func.layers.{at}."
        for norm in ("latent_norm", "mlp_norm"):
            shapes |= {f"{layer}{norm}.weight": (size,), f"{layer}{norm}.bias": (size,)}
        shapes |= {f"{layer}q_proj.weight": (size, size), f"{layer}attn_out_proj.weight": (size, size)}
        shapes |= {f"{layer}mlp.0.weight": (4 * size, size), f"{layer}mlp.0.bias": (4 * size,)}
        shapes |= {f"{layer}mlp.2.weight": (size, 4 * size), f"{layer}mlp.2.bias": (size,)}
        shapes |= {f"{layer}attn_out_proj.bias": (size,)}
    weights = {name: torch.randn(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    scales = torch.ones(256)
    scales[:FEATURES] = torch.tensor([1.0, 10, 30, 1, 1, 1, 100, 100])
    weights["obs_shim_tokens.func.attr_val_normer._norm_factors"] = scales
    weights["obs_shim_tokens.func.token_pad_striper.feature_id_remap"] = torch.arange(256, dtype=torch.uint8)
    weights["obs_attr_embed_fourier.func.frequencies"] = 2.0 ** torch.arange(3)
    return {f"network.module.{name}": tensor for name, tensor in weights.items()}


class Ancestor:
    """The predecessor's policy over the weights of its file; its memory is torch's own LSTM over a whole sequence."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = {name.removeprefix("network.module."): tensor for name, tensor in weights.items()}
        self.lstm = nn.LSTM(64, 32, batch_first=True)
        prefix = "lstm.func.net."
        self.lstm.load_state_dict(
            {name.removeprefix(prefix): w for name, w in self.weights.items() if name.startswith(prefix)}
        )

    def linear(self, name: str, value: Tensor) -> Tensor:
        return functional.linear(value, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, name: str, value: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(value, value.shape[-1:], weight, bias)

    def perceive(self, tokens: Tensor) -> Tensor:
        """Uint8 [batch, token, 3] to float32 [batch, 64]."""
        mask = tokens[..., 0] == PADDING
        lengths = torch.where(mask.any(1), mask.int().argmax(1), tokens.shape[1])
        kept = int(lengths.max().clamp(max=48))
        tokens, mask = tokens[:, :kept], mask[:, :kept]
        attributes = tokens[..., 1].long()
        parts = [self.weights["obs_attr_embed_fourier.func._attr_embeds.weight"][attributes]]
        for coordinate in (tokens[..., 0] >> 4, tokens[..., 0] & 0x0F):
            scaled = (coordinate.float() / 10.0 * 2.0 - 1.0)[..., None]
            scaled = scaled * self.weights["obs_attr_embed_fourier.func.frequencies"]
            parts += [torch.cos(scaled), torch.sin(scaled)]
        factors = self.weights["obs_shim_tokens.func.attr_val_normer._norm_factors"][attributes]
        parts.append((tokens[..., 2].float() / factors)[..., None])
        words = torch.cat(parts, dim=-1).masked_fill(mask[..., None], 0.0)
        here = "obs_perceiver_latent.func."
        words = self.norm(f"{here}token_norm", words)
        keys, values = (
            self.linear(here + name, words).view(len(tokens), kept, 4, 16).transpose(1, 2)
            for name in ("k_proj", "v_proj")
        )
        latents = self.weights[f"{here}latents"].expand(len(tokens), -1, -1)
        for at in range(2):
            layer = f"{here}layers.{at}."
            asked = self.linear(f"{layer}q_proj", self.norm(f"{layer}latent_norm", latents))
            asked = asked.view(len(tokens), 12, 4, 16).transpose(1, 2)
            seen = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=~mask[:, None, None, :])
            latents = latents + self.linear(f"{layer}attn_out_proj", seen.transpose(1, 2).reshape(len(tokens), 12, 64))
            wide = functional.gelu(self.linear(f"{layer}mlp.0", self.norm(f"{layer}mlp_norm", latents)))
            latents = latents + self.linear(f"{layer}mlp.2", wide)
        return self.norm(f"{here}final_norm", latents).mean(dim=1)

    def run(self, steps: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and values of each step, from an empty memory."""
        hidden, _ = self.lstm(torch.stack([self.perceive(tokens) for tokens in steps], dim=1))
        for core in hidden.unbind(dim=1):
            actor = self.linear("actor_mlp.func.network.module.0.module", core).relu()
            actor = self.linear("actor_mlp.func.network.module.2.module", actor)
            critic = self.linear("critic.func.network.module.0.module", core).relu()
            values = self.linear("critic.func.network.module.2.module", critic)[:, 0]
            yield self.linear("actor_head.func._module.module", actor), values


def make_tokens(count: int) -> Tensor:
    tokens = torch.stack(
        [
            torch.randint(0, 11, (count, TOKENS)) * 16 + torch.randint(0, 11, (count, TOKENS)),
            torch.randint(0, FEATURES, (count, TOKENS)),
            torch.randint(0, 100, (count, TOKENS)),
        ],
        dim=-1,
    ).to(torch.uint8)
    absent = torch.arange(TOKENS) >= torch.randint(1, TOKENS + 1, (count, 1))
    tokens[absent] = torch.tensor([PADDING] * 3, dtype=torch.uint8)
    return tokens


def test_predecessors_policy_computes_the_same_over_several_steps(
    tmp_path: Path, foreign_wheel: Path, foreign_store: Store
) -> None:
    weights = make_ancestor_weights()
    with zipfile.ZipFile(tmp_path / "policy.mpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.safetensors", save(weights))
        archive.writestr("modelarchitecture.txt", "metta.agent.policies.vit.ViTDefaultConfig(components=[...])")
    rules = GameRules(
        features=tuple(Feature(name=f"feature {at}", id=at) for at in range(FEATURES)),
        layout=TokenLayout(tokens=TOKENS, height=11, width=11, location="column_high", padding=PADDING),
        actions=DiscreteActions.of("noop", "north", "south", "west", "east"),
    )
    policy = convert_and_load(
        tmp_path / "policy.mpt",
        "foreign_latent_tokens",
        "ancestor_latent_tokens.yaml",
        rules,
        foreign_wheel,
        foreign_store,
    )

    batch, steps = OBSERVATIONS // 4, [make_tokens(OBSERVATIONS // 4) for _ in range(4)]
    state = policy.initial_state(batch)
    with torch.no_grad():
        for tokens, (logits, values) in zip(steps, Ancestor(weights).run(steps), strict=True):
            output = policy.act(tokens, state)
            state = output.state
            assert output.logits is not None and output.value is not None
            torch.testing.assert_close(output.logits, logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(output.value, values, rtol=1e-4, atol=1e-4)
            assert torch.equal(output.action, logits.argmax(dim=1))
