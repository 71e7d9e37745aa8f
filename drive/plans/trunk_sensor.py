"""The sensor-level trunk: images and lidar -> scene features, as NAVSIM's DiffusionDrive has it (spec 1.3).

    camera, lidar -> TransFuser -> coarse [B, 512, 8, 8], fine [B, 64, 64, 64]
    coarse -> 1 x 1 -> 64 keys --+-- and the status' token -> keys and values of a decoder whose queries are the ego's
                                 |                            and 30 road users' -> ego, agents
                                 +-> enlarged to 64 x 64, beside fine -> linear, ReLU, norm -> bird's-eye map

In training two heads teach it what is where: a semantic map ahead, and the vehicles around (drive.features.bev_heads).
It is told nothing of objects, map or route: only the command, speed and acceleration, as the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.features.bev_heads import AgentHead, SemanticHead, agent_losses, semantic_loss
from drive.features.transfuser import TransFuserConfig, as_map, as_tokens
from drive.plans.trunk import BevFrame, SceneFeatures, SensorInput
from drive.plans.trunk_object import status_scale
from drive.samples.plan_sample import ACTOR_COLUMNS, STATUS_COLUMNS
from drive.samples.plan_sample_batch import PlanBatch
from drive.samples.plan_sample_sensors import SEMANTICS, PlanSensors


@dataclass(frozen=True)
class SensorTrunkConfig:
    """The defaults are the published ones.

    sensors: sizes of the input; the samples' must be the same.
    channels: of keys, tokens and the map. layers, heads, ffn: of the decoder over keys.
    agents: road users' tokens.
    semantic, agent_class, agent_box: weights of what the trunk is taught in training.
    """

    transfuser: TransFuserConfig = field(default_factory=TransFuserConfig)
    sensors: PlanSensors = field(default_factory=PlanSensors)
    channels: int = 256
    layers: int = 3
    heads: int = 8
    ffn: int = 1024
    agents: int = 30
    semantic: float = 14.0
    agent_class: float = 10.0
    agent_box: float = 1.0

    def build(self) -> TransFuserTrunk:
        return TransFuserTrunk(self)

    @property
    def frame(self) -> BevFrame:
        """Where the feature map lies: on the histogram."""
        reach = self.sensors.reach_m
        return BevFrame((-reach, 2 * reach), (-reach, 2 * reach))


@dataclass(frozen=True, eq=False)
class TaughtAnswers:
    """Semantic logits [B, classes, rows, columns], boxes [B, A, 5] and existence logits [B, A] of vehicles."""

    semantic: Tensor
    boxes: Tensor
    exists: Tensor


class TransFuserTrunk(nn.Module):
    """PlanBatch with sensors -> SceneFeatures; in training mode with what it is taught."""

    def __init__(self, config: SensorTrunkConfig) -> None:
        super().__init__()
        self.config = config
        C, fuser = config.channels, config.transfuser
        self.transfuser = fuser.build()
        self.to_keys = nn.Conv2d(self.transfuser.channels, C, 1)
        self.status = nn.Linear(len(STATUS_COLUMNS), C)
        self.places = nn.Embedding(fuser.lidar_tokens[0] * fuser.lidar_tokens[1] + 1, C)
        self.queries = nn.Embedding(1 + config.agents, C)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(C, config.heads, config.ffn, dropout=0.0, batch_first=True)
            for _ in range(config.layers)
        )
        self.to_map = nn.Linear(C + fuser.map_channels, C)
        self.map_norm = nn.LayerNorm(C)
        grid = config.sensors.semantic_grid.shape
        self.semantic = SemanticHead(fuser.map_channels, len(SEMANTICS), grid)
        self.agent_head = AgentHead(C, config.ffn, config.sensors.reach_m)

    def forward(self, batch: PlanBatch) -> SceneFeatures:
        return self.sense(SensorInput.of(batch, self.config.sensors.most))

    def sense(self, sensors: SensorInput) -> SceneFeatures:
        """Features of sensors. ValueError: their sizes are not the configuration's."""
        wanted = self.config.sensors
        given = *sensors.camera.shape[2:], *sensors.lidar.shape[2:]
        if given != (*wanted.image, wanted.cells, wanted.cells):
            what = f"{wanted.image} pixels and {wanted.cells} x {wanted.cells} cells"
            raise ValueError(f"the trunk takes {what}, got {given[:2]} and {given[2:]}")
        coarse, fine = self.transfuser(sensors.camera, sensors.lidar)
        keys = as_tokens(self.to_keys(F.adaptive_avg_pool2d(coarse, self.config.transfuser.lidar_tokens)))
        status = self.status(sensors.status * status_scale(sensors.status))[:, None]
        memory = torch.cat((keys, status), dim=1) + self.places.weight
        tokens = self.queries.weight.expand(len(memory), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, memory)
        return SceneFeatures(
            bev=self._map(memory[:, :-1], fine),
            agents=tokens[:, 1:],
            agent_valid=None,
            ego=tokens[:, :1],
            command=sensors.command,
            frame=self.config.frame,
            taught=self._taught(fine, tokens[:, 1:]) if self.training else None,
        )

    def _map(self, keys: Tensor, fine: Tensor) -> Tensor:
        """C_bev: keys [B, 64, C] at their places, beside the fine map, mixed cell by cell."""
        keyed = as_map(keys, self.config.transfuser.lidar_tokens)
        keyed = F.interpolate(keyed, size=fine.shape[2:], mode="bilinear", align_corners=False)
        cells = torch.cat((keyed, fine), dim=1).permute(0, 2, 3, 1)
        mixed: Tensor = self.map_norm(F.relu(self.to_map(cells)))
        return mixed.permute(0, 3, 1, 2)

    def _taught(self, fine: Tensor, agents: Tensor) -> TaughtAnswers:
        return TaughtAnswers(self.semantic(fine), *self.agent_head(agents))

    def losses(self, taught: TaughtAnswers, batch: PlanBatch) -> dict[str, Tensor]:
        """Weighted "semantic", "agent_class", "agent_box". ValueError: the batch has no targets."""
        if batch.semantic is None:
            raise ValueError("the batch has no semantic targets: it was not made of a log")
        config = self.config
        truth, offsets = vehicles(batch, config.sensors.reach_m, config.agents)
        exists, box = agent_losses(
            taught.boxes, taught.exists, truth, offsets, config.agent_class, config.agent_box
        )  # fmt: skip
        return {
            "semantic": config.semantic * semantic_loss(taught.semantic, batch.semantic),
            "agent_class": config.agent_class * exists,
            "agent_box": config.agent_box * box,
        }


_X, _Y, _COS, _SIN, _LENGTH, _WIDTH, _IS_VEHICLE = (
    ACTOR_COLUMNS.index(name) for name in ("x", "y", "cos", "sin", "length", "width", "is_vehicle")
)


def vehicles(batch: PlanBatch, reach_m: float, most: int) -> tuple[Tensor, Tensor]:
    """The nearest vehicles inside +-reach_m of each decision: x, y, heading, length, width [N, 5] and offsets [B + 1].

    Road users of a batch stand nearest first; whom a sample left out (``PlanFeatures.most_actors``) is not there.
    """
    actors, counts = batch.actors, batch.actor_offsets.diff()
    scene = torch.repeat_interleave(torch.arange(len(counts), device=actors.device), counts)
    near = (actors[:, _IS_VEHICLE] > 0) & (actors[:, [_X, _Y]].abs() < reach_m).all(1)
    before = torch.cat((near.new_zeros(1, dtype=torch.int64), near.cumsum(0)))
    near &= before[1:] - before[batch.actor_offsets[scene]] <= most
    heading = torch.atan2(actors[:, _SIN], actors[:, _COS])
    columns = actors[:, _X], actors[:, _Y], heading, actors[:, _LENGTH], actors[:, _WIDTH]
    truth = torch.stack(columns, dim=1)[near]
    per_scene = torch.bincount(scene[near], minlength=len(counts))
    return truth, F.pad(per_scene.cumsum(0), (1, 0))
