"""Points of a pillar to one feature vector: PointNet (spec 1.3) and PVTransformer (spec 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.norm import RowNorm
from drive.samples.sample import POINT_COLUMNS, RADAR_POINT_COLUMNS
from drive.voxels.voxelize import Voxels
from ops.pillar_encoder import pillar_net
from ops.point_attention import point_attention
from ops.segment import segment_reduce

NUM_POINT_FEATURES = 17
NUM_RADAR_FEATURES = 4  # vx vy rcs is_radar


@dataclass(frozen=True)
class PointEncoderConfig:
    """What turns the points of a pillar into its feature.

    kind: "pointnet" or "pvt" (PVTransformer: attention in place of the maximum).
    hidden: width of PointNet's first layer (64: code of SST and FlatFormer) and of nothing else.
    heads, layers: of the attention encoder; 1 layer at base size, 2 for the large model [inferred].
    point_mlp: the residual MLP d-2d-d on every point of the attention encoder [inferred]; it is most of its cost.
    norm: "batch" is the published code's choice, and learns faster; "layer" does not depend on the batch [inferred].
    frames: sweeps whose statistics are kept apart inside a pillar (spec 1.3); frame_period_s: time between them.
    scale_xy, scale_z: metres that become 1 in the input, so that half precision holds [inferred, spec 2.6].
    radar: points are rows of RADAR_POINT_COLUMNS (DataConfig.radars) and their velocity, cross-section and kind are
    features too; scale_velocity (m/s, between a walk and a drive) and scale_rcs (dB) become 1 in the input [inferred].
    """

    kind: Literal["pointnet", "pvt"] = "pointnet"
    hidden: int = 64
    heads: int = 8
    layers: int = 1
    point_mlp: bool = True
    norm: Literal["batch", "layer"] = "batch"
    frames: int = 1
    frame_period_s: float = 0.1
    scale_xy: float = 75.0
    scale_z: float = 4.0
    radar: bool = False
    scale_velocity: float = 2.0
    scale_rcs: float = 20.0

    @property
    def num_features(self) -> int:
        """Inputs a point: 17, with radar 21."""
        return NUM_POINT_FEATURES + NUM_RADAR_FEATURES * self.radar

    def build(self, channels: int) -> PointNet | PVTransformer:
        return PointNet(self, channels) if self.kind == "pointnet" else PVTransformer(self, channels)


@torch.no_grad()
def point_features(voxels: Voxels, config: PointEncoderConfig) -> Tensor:
    """The 17 inputs of spec 1.3 for each in-range point, float32 [P, 17], in the order of ``voxels.points``.

    x y z i e dt | p - mean (3) | p - pillar centre (3) | variance (3) | log1p(count) | frame / frames. With radar
    [P, 21]: | vx vy | rcs | is_radar behind them, zeros for a lidar's points.
    Mean, variance and count are those of the point's own frame inside the pillar; points columns are
    x y z intensity elongation dt. x and y are divided by scale_xy, z by scale_z; offsets by the pillar's edge in
    plan and by 1 m in height, so that every column is of order one.

    Raises:
        UserError: radar columns that the encoder does not read, or none where it reads them.
    """
    points, grid = voxels.points, voxels.grid
    require_columns(points, config.radar)
    xyz = points[:, :3]
    edge = xyz.new_tensor([grid.voxel_size[0], grid.voxel_size[1], 1.0])
    centre = grid.centres(voxels.coords).index_select(0, voxels.voxel_of_point)
    # Statistics of offsets from the centre: sums of 75 m coordinates would lose digits.
    offset = (xyz - centre) / edge
    dt = points[:, 5]
    if config.frames == 1:
        frame, row, offsets, order = torch.zeros_like(dt), voxels.voxel_of_point, voxels.offsets, None
    else:
        frame_index = (dt / config.frame_period_s).round().long().clamp_(0, config.frames - 1)
        order = torch.argsort(voxels.voxel_of_point * config.frames + frame_index, stable=True)
        group = (voxels.voxel_of_point * config.frames + frame_index)[order]
        _, row, counts = torch.unique_consecutive(group, return_inverse=True, return_counts=True)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        frame, offset, centre = frame_index[order].to(dt.dtype), offset[order], centre[order]
        points, xyz, dt = points[order], xyz[order], dt[order]
    moments = segment_reduce(torch.cat((offset, offset * offset), 1), offsets, "mean")
    mean, square = moments[:, :3], moments[:, 3:]
    variance = (square - mean * mean).clamp_(min=0)
    log_count = torch.log1p((offsets[1:] - offsets[:-1]).to(dt.dtype))
    per_group = torch.cat((mean, variance, log_count[:, None]), 1).index_select(0, row)
    scale = xyz.new_tensor([config.scale_xy, config.scale_xy, config.scale_z])
    columns = [
        xyz / scale,
        torch.tanh(points[:, 3:4]),
        points[:, 4:5],
        dt[:, None],
        offset - per_group[:, :3],
        offset,
        per_group[:, 3:],
        (frame / config.frames)[:, None],
    ]
    if config.radar:
        v, rcs = config.scale_velocity, config.scale_rcs
        columns.append(points[:, len(POINT_COLUMNS) :] / points.new_tensor([v, v, rcs, 1.0]))
    features = torch.cat(columns, 1)
    if order is None:
        return features
    back = torch.empty_like(features)
    back[order] = features
    return back


def require_columns(points: Tensor, radar: bool) -> None:
    """Points [P, C] have radar columns where a model reads them, and none where it does not.

    Raises:
        UserError: they do not fit.
    """
    width = len(RADAR_POINT_COLUMNS if radar else POINT_COLUMNS)
    if points.shape[1] != width:
        what = f"the model takes points of {width} columns, these have {points.shape[1]}"
        mend = "set data.radars, so that it gets radar returns too (loose scans have none: use --logs)"
        if not radar:
            mend = "set data.radars to None, or model.encoder.radar for a model of pillars that reads them"
        raise UserError("model", what, mend)


class PointNet(nn.Module):
    """Linear-norm-ReLU, maximum over the pillar, joined to each point, Linear-norm-ReLU, maximum (spec 1.3 step 4).

    The second layer's weight on the joined maximum is applied once a pillar, not once a point: the same function.
    Where both norms are a fixed scale and shift (batch norm outside training) they fold into the weights, and one
    operator runs both layers without writing a point's channels (ops.pillar_encoder); on a CPU in float32 inside
    autocast too, which takes half the time of separate steps in bfloat16. Batch norm in training and layer norm need
    the statistics of every row of channels: there the layers are separate steps.
    """

    def __init__(self, config: PointEncoderConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.num_features, config.hidden, bias=False)
        self.first_norm = RowNorm(config.hidden, config.norm)
        self.point = nn.Linear(config.hidden, channels, bias=False)
        self.pillar = nn.Linear(config.hidden, channels, bias=False)
        self.second_norm = RowNorm(channels, config.norm)

    def forward(self, voxels: Voxels) -> Tensor:
        """[V, channels]."""
        features = point_features(voxels, self.config)
        first, second = self.first_norm.affine(), self.second_norm.affine()
        narrow = features.device.type != "cpu" and torch.is_autocast_enabled(features.device.type)
        if first is not None and second is not None and not narrow:
            w1 = self.first.weight.t() * first[0]
            w2, pillar = (layer.weight.t() * second[0] for layer in (self.point, self.pillar))
            return pillar_net(features, voxels.offsets, w1, first[1], w2, pillar, second[1])
        x = F.relu(self.first_norm(self.first(features)))
        pooled = self.pillar(segment_reduce(x, voxels.offsets, "max"))
        x = self.point(x) + pooled.index_select(0, voxels.voxel_of_point)
        return segment_reduce(F.relu(self.second_norm(x)), voxels.offsets, "max")


class AttentionPool(nn.Module):
    """One layer of v = LN(v0 + MHA(query, points)); v = LN(v + MLP(v)) over the points of each pillar.

    Keys and values of points are never formed (spec 8.4): the key weight is folded into the query and the value
    weight is applied after the weighted sum. Keys have no bias (it cancels in the softmax).
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Parameter(torch.empty(heads, channels // heads, channels))
        self.value = nn.Parameter(torch.empty(heads, channels // heads, channels))
        self.out = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.mlp_norm = nn.LayerNorm(channels)
        for weight in (self.key, self.value):
            nn.init.uniform_(weight, -(channels**-0.5), channels**-0.5)

    def forward(self, query: Tensor, start: Tensor, x: Tensor, voxels: Voxels) -> Tensor:
        """query [channels] (one for all pillars) or [V, channels]; start [V, C]; x [P, C] -> [V, C]."""
        heads, depth, channels = self.key.shape
        q = self.query(query).view(-1, heads, depth) * depth**-0.5
        folded = torch.einsum("vhd,hdc->vhc", q, self.key)
        if query.dim() == 1:
            scores = x @ folded[0].t()
        else:
            scores = torch.einsum("phc,pc->ph", folded.index_select(0, voxels.voxel_of_point), x)
        summed = point_attention(scores, x, voxels.offsets)
        values = torch.einsum("vhc,hdc->vhd", summed, self.value).reshape(-1, channels)
        v = self.norm(start + self.out(values))
        return self.mlp_norm(v + self.mlp(v))


class PVTransformer(nn.Module):
    """Point-to-voxel attention with a latent query and a residual path (spec 2.2).

    The combination of latent and residual, the point embedding and the second layer's query are [inferred].
    """

    def __init__(self, config: PointEncoderConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.num_features, channels)
        self.embed_norm = RowNorm(channels, config.norm)
        self.point_mlp = (
            nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
            if config.point_mlp
            else None
        )
        self.latent = nn.Parameter(torch.randn(channels) * 0.02)
        self.layers = nn.ModuleList(AttentionPool(channels, config.heads) for _ in range(config.layers))

    def forward(self, voxels: Voxels) -> Tensor:
        """[V, channels]."""
        x = F.gelu(self.embed_norm(self.embed(point_features(voxels, self.config))))
        if self.point_mlp is not None:
            x = x + self.point_mlp(x)
        v = segment_reduce(x, voxels.offsets, "max") + self.latent
        query: Tensor = self.latent
        for layer in self.layers:
            v = layer(query, v, x, voxels)
            query = v
        return v
