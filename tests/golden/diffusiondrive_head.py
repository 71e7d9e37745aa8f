"""How diffusiondrive_head.json was made: the published planner head itself, with weights from a formula.

    git clone https://github.com/hustvl/DiffusionDrive PEER   (commit a3ce7af, MIT)
    pip install --no-deps --target SITE diffusers==0.42.1 einops   (and diffusers' own light needs)
    PYTHONPATH=PEER:SITE python tests/golden/diffusiondrive_head.py

Only `TrajectoryHead` is run: modules of nuplan and of the image backbone that its file imports are replaced by empty
ones. Weights, scene and noise are numbers of numpy's generator in the order of the published names, so that the test
can make them again; the file keeps the answer alone. The test maps the names (`OURS`).
"""

from __future__ import annotations

import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

LAYER = {
    "cross_bev_attention.attention_weights": "spatial.weight",
    "cross_bev_attention.output_proj": "spatial.out",
    "cross_bev_attention.value_proj.0": "spatial.value",
    "cross_agent_attention.out_proj": "agents.out",
    "cross_ego_attention.out_proj": "ego.out",
    "ffn.0": "ffn_in",
    "ffn.2": "ffn_out",
    "norm1": "agents_norm",
    "norm2": "ego_norm",
    "norm3": "ffn_norm",
    "time_modulation.scale_shift_mlp.1": "modulation.linear",
    **{f"task_decoder.plan_cls_branch.{i}": f"heads.score.{i}" for i in (0, 2, 3, 5, 6)},
    **{f"task_decoder.plan_reg_branch.{i}": f"heads.poses.{i}" for i in (0, 2, 4)},
}
OURS = {
    "plan_anchor_encoder.0": "places.inner",
    "plan_anchor_encoder.2": "places.norm",
    "plan_anchor_encoder.3": "places.outer",
    "time_mlp.1": "level.inner",
    "time_mlp.3": "level.outer",
    **{f"diff_decoder.layers.{n}.{theirs}": f"layers.{n}.{ours}" for n in (0, 1) for theirs, ours in LAYER.items()},
}
"""Published module -> ours. The attentions' in_proj is split into query, key and value by the test."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Published parameter names and shapes, in the order in which they draw numbers."""
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (256,), (256,)

    linear("plan_anchor_encoder.0", 256, 512)
    norm("plan_anchor_encoder.2")
    linear("plan_anchor_encoder.3", 256, 256)
    linear("time_mlp.1", 1024, 256)
    linear("time_mlp.3", 256, 1024)
    for n in (0, 1):
        at = f"diff_decoder.layers.{n}"
        linear(f"{at}.cross_bev_attention.attention_weights", 8, 256)
        linear(f"{at}.cross_bev_attention.output_proj", 256, 256)
        found[f"{at}.cross_bev_attention.value_proj.0.weight"] = (256, 256, 3, 3)
        found[f"{at}.cross_bev_attention.value_proj.0.bias"] = (256,)
        for one in ("cross_agent_attention", "cross_ego_attention"):
            found[f"{at}.{one}.in_proj_weight"], found[f"{at}.{one}.in_proj_bias"] = (768, 256), (768,)
            linear(f"{at}.{one}.out_proj", 256, 256)
        linear(f"{at}.ffn.0", 1024, 256)
        linear(f"{at}.ffn.2", 256, 1024)
        for k in (1, 2, 3):
            norm(f"{at}.norm{k}")
        linear(f"{at}.time_modulation.scale_shift_mlp.1", 512, 256)
        branch = f"{at}.task_decoder.plan_cls_branch"
        linear(f"{branch}.0", 256, 256)
        norm(f"{branch}.2")
        linear(f"{branch}.3", 256, 256)
        norm(f"{branch}.5")
        linear(f"{branch}.6", 1, 256)
        branch = f"{at}.task_decoder.plan_reg_branch"
        linear(f"{branch}.0", 256, 256)
        linear(f"{branch}.2", 256, 256)
        linear(f"{branch}.4", 24, 256)
    return found


def numbers() -> dict[str, np.ndarray]:
    """Weights by published name, and the inputs "anchors", "bev", "agents", "ego", "noise"; float32."""
    rng = np.random.default_rng(20)
    drawn: dict[str, np.ndarray] = {}
    for name, shape in shapes().items():
        drawn[name] = rng.standard_normal(shape, np.float32)
        drawn[name] *= 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        if len(shape) == 1 and name.endswith("weight"):
            drawn[name] += 1  # a norm's gain
    speed, bend = np.linspace(0, 13, 20), rng.uniform(-0.03, 0.03, 20)
    along = speed[:, None] * np.arange(1, 9) * 0.5
    turn = bend[:, None] * along
    drawn["anchors"] = np.stack((along * np.cos(turn), along * np.sin(turn)), axis=-1).astype(np.float32)
    drawn["bev"] = rng.standard_normal((2, 256, 64, 64), np.float32)
    drawn["agents"] = rng.standard_normal((2, 30, 256), np.float32)
    drawn["ego"] = rng.standard_normal((2, 1, 256), np.float32)
    drawn["noise"] = rng.standard_normal((2, 20, 8, 2), np.float32)
    return drawn


class Anything(types.ModuleType):
    """A module that has whatever is imported from it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"HEADING": 2})


def main() -> None:
    import torch

    for name in (
        "navsim.agents.diffusiondrive.transfuser_config",
        "navsim.agents.diffusiondrive.transfuser_backbone",
        "navsim.agents.diffusiondrive.transfuser_features",
        "navsim.agents.diffusiondrive.modules.multimodal_loss",
        "navsim.common",
        "navsim.common.enums",
        "navsim.common.dataclasses",
    ):
        sys.modules[name] = Anything(name)
    loss = sys.modules["navsim.agents.diffusiondrive.modules.multimodal_loss"]
    loss.LossComputer = lambda config: torch.nn.Identity()  # type: ignore[attr-defined]
    from navsim.agents.diffusiondrive.transfuser_model_v2 import TrajectoryHead

    config = types.SimpleNamespace(
        tf_d_model=256, tf_num_head=8, tf_dropout=0.0, tf_d_ffn=1024, lidar_max_x=32, lidar_max_y=32
    )
    drawn = {name: torch.from_numpy(value) for name, value in numbers().items()}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "anchors.npy", drawn["anchors"].numpy())
        head = TrajectoryHead(8, 1024, 256, f"{folder}/anchors.npy", config).eval()
    weights = {name: drawn[name] for name in shapes()}
    left = set(head.state_dict()) - {"plan_anchor"} - set(weights)
    assert not left, left
    head.load_state_dict({**weights, "plan_anchor": drawn["anchors"]})

    every: list[torch.Tensor] = []  # poses and logits of all modes: the head itself gives the best one only
    head.diff_decoder.register_forward_hook(lambda _m, _i, out: every.extend((out[0][-1], out[1][-1])))
    draw, torch.randn = torch.randn, lambda shape, device=None: drawn["noise"]  # the head draws noise once
    with torch.no_grad():
        best = head(drawn["ego"], drawn["agents"], drawn["bev"], (64, 64), None)["trajectory"]
    torch.randn = draw
    answer = {
        "peer": "hustvl/DiffusionDrive a3ce7af TrajectoryHead.forward_test",
        "best": best.tolist(),
        "poses": every[-2].tolist(),
        "logits": every[-1].tolist(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
