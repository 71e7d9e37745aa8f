"""DeepFusion (Li et al., CVPR 2022, arXiv 2203.08195): a pillar asks the image features of its own points.

Where a point lies in an image depends on where it was recorded, not on where augmentation moved it: :class:`DeepFusion`
finds that place in one of three ways (``DeepFusionConfig.align``), :class:`LearnableAlign` weighs what is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.images import ImageNetConfig
from drive.features.norm import RowNorm
from drive.samples.batch import FrameBatch
from drive.samples.images import ImageBatch
from drive.voxels.voxelize import Voxels
from ops.camera_sample import Cameras, Pairs, project_points, sample_pairs
from ops.point_attention import point_attention
from ops.segment import segment_expand, segment_max, segment_sum

ScaleShift = tuple[Tensor, Tensor]
BLOCK = 8192  # pairs whose features are held at a time: 8 MB of 2 x 128 channels


@dataclass(frozen=True)
class DeepFusionConfig:
    """How image features reach the pillars. Defaults are the published code's (spec 1.4).

    images: the image net; its finest map is used.
    align: "carried" reads where each point was recorded from a column that no augmentation touches; "inverse_aug"
        undoes the recorded chain of augmentations (the paper's InverseAug; the two agree, except that it knows nothing
        of pasted objects and gives them pixels that are not theirs); "none" projects the points where augmentation
        left them (the paper's ablation).
    pool: "attention" (LearnableAlign), or the paper's two ablations: "mean" weighs the pixels of a pillar evenly,
        "pixel" takes one pixel a pillar (its first seen point's).
    sampling: "bilinear", or the published code's "nearest" cell.
    output: "point" runs the last layer on each weighted pixel and adds up what comes out (the published code, spec
        1.4); "pillar" runs it once on the weighted sum (the paper's text [recall]). With "point" a pillar's answer
        grows with its number of points, whatever their weights, as every point adds what the layer's norm and ReLU
        make of almost nothing.
    channels: of q, k, v. dropout: chance that a weight is dropped in training.
    norm: "batch" is the published code's; "layer" does not depend on the batch.
    newest_s: points older than this project nowhere: what moves has left the place where an older sweep saw it. The
        published work has one sweep a frame [inferred].
    """

    images: ImageNetConfig = field(default_factory=ImageNetConfig)
    align: Literal["inverse_aug", "carried", "none"] = "carried"
    pool: Literal["attention", "mean", "pixel"] = "attention"
    sampling: Literal["bilinear", "nearest"] = "bilinear"
    output: Literal["point", "pillar"] = "point"
    channels: int = 128
    dropout: float = 0.3
    norm: Literal["batch", "layer"] = "batch"
    newest_s: float = float("inf")

    def build(self, pillar_channels: int) -> DeepFusion:
        return DeepFusion(self, pillar_channels)


class DeepFusion(nn.Module):
    """Pillars and images -> pillars of the same width, before any backbone: backbone and head know of no camera.

    A camera that is missing from a frame is left out of it, its image is not even computed; a pillar that no camera
    sees is fused with zeros, and so are all pillars of a batch without images.
    """

    def __init__(self, config: DeepFusionConfig, pillar_channels: int) -> None:
        super().__init__()
        self.config = config
        self.images = config.images.build()
        self.attend = LearnableAlign(config, pillar_channels, self.images.channels)
        self.fuse = FullyConnected(pillar_channels + self.images.channels, pillar_channels, config.norm)

    def forward(self, pillars: Tensor, voxels: Voxels, batch: FrameBatch) -> Tensor:
        """pillars [V, C] -> [V, C]."""
        seen = None if batch.images is None else present_images(batch.images)
        if seen is None:
            attended = pillars.new_zeros(len(pillars), self.images.channels)
        else:
            pixels, cameras = seen
            maps = self.images(pixels)[0]
            places = recorded_places(batch, self.config).index_select(0, voxels.order)
            pairs = project_points(places, cameras, batch.point_batch.index_select(0, voxels.order), best=True)
            attended = self.attend(pillars, maps, pairs, voxels.offsets)
        return self.fuse(torch.cat((pillars, attended), 1))


class LearnableAlign(nn.Module):
    """Attention of a pillar to the image features of its points, one head: q of the pillar, k and v of the pixels.

    w = softmax over the pillar's seen points of q . k / sqrt(channels); O = sum of FC(w v) or FC(sum of w v), FC back
    to the image features' width. No residual, no positional encoding; a pillar without a seen point gets O = 0.

    The linear parts of k and v are applied to the maps before points are sampled: interpolation is linear, so it is the
    same function, with a product a cell in place of one a point.
    """

    def __init__(self, config: DeepFusionConfig, pillar_channels: int, image_channels: int) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        if config.pool == "attention":
            self.query = FullyConnected(pillar_channels, width, config.norm, active=False)
            self.key = nn.Linear(image_channels, width, bias=False)
            self.key_norm = RowNorm(width, config.norm)
        self.value = nn.Linear(image_channels, width, bias=False)
        self.value_norm = RowNorm(width, config.norm)
        self.out = FullyConnected(width, image_channels, config.norm)

    def forward(self, pillars: Tensor, maps: Tensor, pairs: Pairs, offsets: Tensor) -> Tensor:
        """pillars [V, C]; maps [N, C_img, h, w]; pairs of the points in pillar order; offsets [V + 1] of the points.

        Returns [V, C_img].
        """
        rows = pairs.offsets[offsets]  # the pairs of each pillar
        if self.config.sampling == "nearest":
            pairs = pairs._replace(place=cell_centres(pairs.place, maps))
        if self.config.pool == "pixel":
            pairs, rows = first_of_each(pairs, rows)
        if self.config.pool == "attention" and self.value_norm.affine() is not None:
            return self._folded(pillars, maps, pairs, rows).to(pillars.dtype)
        width = self.config.channels
        if self.config.pool == "attention":
            k, v = sample_pairs(project(maps, self.key.weight, self.value.weight), pairs).split(width, 1)
            q = segment_expand(self.query(pillars).to(k.dtype), rows, len(k))
            scores = (q * self.key_norm(k).to(k.dtype)).sum(1, keepdim=True, dtype=torch.float32) * width**-0.5
        else:
            v = sample_pairs(project(maps, self.value.weight), pairs)
            scores = v.new_zeros(len(v), 1, dtype=torch.float32)
        weight = F.dropout(segment_softmax(scores, rows), self.config.dropout, self.training)
        values = self.value_norm(v)
        weighted = weight.to(values.dtype) * values
        if self.config.output == "point":
            return segment_sum(self.out(weighted), rows).to(pillars.dtype)
        return self._of_sums(segment_sum(weighted, rows), rows).to(pillars.dtype)

    def _of_sums(self, sums: Tensor, rows: Tensor) -> Tensor:
        """The output layer on the sums [V, channels] of pillars that have any; its norm sees no others."""
        some = (rows[1:] > rows[:-1]).nonzero()[:, 0]
        out = self.out(sums[some])
        return out.new_zeros(len(sums), out.shape[1]).index_copy(0, some, out)

    def _folded(self, pillars: Tensor, maps: Tensor, pairs: Pairs, rows: Tensor) -> Tensor:
        """The same where all norms are a fixed scale and shift: no product a point is left.

        The key's weight goes into the query (its shift adds the same to all scores of a pillar, which the softmax takes
        away), those of value and output become one. Blocks of pillars keep the points' features in a CPU's cache.
        """
        channels, per_point = maps.shape[1], self.config.output == "point"
        key, value, out = (cast(ScaleShift, norm.affine()) for norm in (self.key_norm, self.value_norm, self.out.norm))
        asked = (self.query(pillars).float() * key[0] * self.config.channels**-0.5) @ self.key.weight
        given = out[0][:, None] * self.out.linear.weight
        if per_point:
            answers = project(maps, (given * value[0]) @ self.value.weight)
            maps = torch.cat((maps, answers.to(maps.dtype)), 1).contiguous(memory_format=torch.channels_last)
        shift, found = given @ value[1], []
        block = BLOCK if maps.device.type == "cpu" else max(len(pairs.camera), 1)  # a GPU takes all at once
        for first, last in blocks_of(rows, block):
            a, b = int(rows[first]), int(rows[last])
            own = rows[first : last + 1] - a
            features = sample_pairs(maps, pairs._replace(camera=pairs.camera[a:b], place=pairs.place[a:b])).float()
            scores = (segment_expand(asked[first:last], own, b - a) * features[:, :channels]).sum(1, keepdim=True)
            if per_point:
                weight = segment_softmax(scores, own)
                found.append(segment_sum(F.relu(torch.addcmul(out[1], features[:, channels:] + shift, weight)), own))
            else:
                found.append(point_attention(scores, features, own)[:, 0])
        answer = torch.cat(found) if found else asked.new_zeros(0, channels)
        if per_point:
            return answer
        return self._of_sums(self.value_norm(self.value(answer)), rows)  # the weights add up to 1: no shift is lost


class FullyConnected(nn.Module):
    """Linear, norm and, where active, ReLU on rows: the published code's fully connected layer."""

    def __init__(self, inputs: int, outputs: int, norm: Literal["batch", "layer"], active: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = RowNorm(outputs, norm)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.linear(x))
        return F.relu(x) if self.active else x


def project(maps: Tensor, *weights: Tensor) -> Tensor:
    """Products of weights [outputs, C] at every cell of maps [N, C, h, w], side by side: [N, sum of outputs, h, w]."""
    rows = F.linear(maps.permute(0, 2, 3, 1), torch.cat(weights))
    return rows.permute(0, 3, 1, 2)  # channels last in memory, as the sampling wants it


def blocks_of(offsets: Tensor, size: int) -> list[tuple[int, int]]:
    """Runs of segments (first, last + 1) of about `size` rows each; a segment is never cut."""
    ends = offsets.cpu()
    cuts = torch.searchsorted(ends, torch.tensor(range(size, int(ends[-1]), size), dtype=torch.int64)).tolist()
    edges = sorted({0, *cuts, len(ends) - 1})
    return list(pairwise(edges))


def segment_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """Softmax of scores [E, 1] inside each segment; segments without a row are no trouble."""
    count = len(scores)
    top = segment_max(scores.detach(), offsets)
    weight = (scores - segment_expand(top, offsets, count)).exp()
    return weight / segment_expand(segment_sum(weight, offsets), offsets, count)


def first_of_each(pairs: Pairs, rows: Tensor) -> tuple[Pairs, Tensor]:
    """The first pair of every pillar, and where each pillar's pairs (one or none) start."""
    some = rows[1:] > rows[:-1]
    first = rows[:-1][some]
    kept = pairs._replace(point=pairs.point[first], camera=pairs.camera[first], place=pairs.place[first])
    return kept, F.pad(some.long().cumsum(0), (1, 0))


def cell_centres(place: Tensor, maps: Tensor) -> Tensor:
    """Places [E, 2] moved to the centre of the map's cell that they lie in."""
    size = place.new_tensor([maps.shape[3], maps.shape[2]])
    return ((place * size).floor().clamp(max=size - 1) + 0.5) / size


def recorded_places(batch: FrameBatch, config: DeepFusionConfig) -> Tensor:
    """Where each point [P, 3] is looked for in the images: ego metres, NaN for nowhere."""
    points = batch.points[:, :3]
    if config.align == "carried":
        if batch.recorded_xyz is None:
            raise UserError("recorded_xyz", "the batch has images and no recorded places", "make it with collate")
        places = batch.recorded_xyz
    elif config.align == "inverse_aug":
        back = batch.recorded_from_augmented.index_select(0, batch.point_batch)
        places = torch.einsum("pij,pj->pi", back[:, :3, :3], points.double()) + back[:, :3, 3]
    else:
        places = points
    if config.newest_s == float("inf"):
        return places
    return torch.where(batch.points[:, 5:6] <= config.newest_s, places, torch.nan)


def present_images(images: ImageBatch) -> tuple[Tensor, Cameras] | None:
    """Pixels and cameras of the images that are there; None where none is."""
    rows = images.present.nonzero()[:, 0]
    if not len(rows):
        return None
    before = F.pad(images.present.long().cumsum(0), (1, 0))
    cameras = Cameras(images.cameras.table[rows], before[images.cameras.offsets])
    return images.pixels[rows], cameras
