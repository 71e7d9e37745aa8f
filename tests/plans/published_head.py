"""The planner head as it was published, literally: the reference of `drive.plans.diffusion` in tests and benchmarks.

Written from the specification (1.4 to 1.7): every layer of every pass convolves the whole bird's-eye map, attends to
the ego with queries and keys, and samples with grid_sample. `PublishedHead.of` takes the weights of a head of ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.diffusion import CascadeLayer, DiffusionHead

LEVELS, HALF_WIDTH_M = 1000, 32.0


class PublishedLayer(nn.Module):
    def __init__(self, channels: int, heads: int, ffn: int, points: int) -> None:
        super().__init__()
        C = channels
        self.point_weight, self.sample_out = nn.Linear(C, points), nn.Linear(C, C)
        self.value = nn.Sequential(nn.Conv2d(C, C, 3, padding=1), nn.ReLU())
        self.agents = nn.MultiheadAttention(C, heads, batch_first=True)
        self.ego = nn.MultiheadAttention(C, heads, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(C, ffn), nn.ReLU(), nn.Linear(ffn, C))
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(3))
        self.modulation = nn.Sequential(nn.Mish(), nn.Linear(C, 2 * C))
        self.score = nn.Sequential(
            nn.Linear(C, C), nn.ReLU(), nn.LayerNorm(C), nn.Linear(C, C), nn.ReLU(), nn.LayerNorm(C), nn.Linear(C, 1)
        )
        self.poses = nn.Sequential(nn.Linear(C, C), nn.ReLU(), nn.Linear(C, C), nn.ReLU(), nn.Linear(C, points * 3))

    def forward(
        self, f: Tensor, places: Tensor, bev: Tensor, agents: Tensor, ego: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        B, K, T, _ = places.shape
        # Rows of the map are x: grid_sample wants (column, row).
        grid = (places / HALF_WIDTH_M)[..., [1, 0]].to(bev.dtype)
        share = self.point_weight(f).softmax(-1)
        sampled = F.grid_sample(self.value(bev), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        f = f + self.sample_out((sampled * share[:, None]).sum(-1).permute(0, 2, 1))
        f = self.norms[0](f + self.agents(f, agents, agents, need_weights=False)[0])
        f = self.norms[1](f + self.ego(f, ego, ego, need_weights=False)[0])
        f = self.norms[2](self.ffn(f))
        scale, shift = self.modulation(level).chunk(2, dim=-1)
        f = f * (1 + scale) + shift
        poses = self.poses(f).float().reshape(B, K, T, 3)
        poses = torch.cat((poses[..., :2] + places, poses[..., 2:].tanh() * math.pi), dim=-1)
        return poses, self.score(f).float()[..., 0]


class PublishedHead(nn.Module):
    def __init__(self, channels: int, heads: int, ffn: int, points: int, layers: int) -> None:
        super().__init__()
        C = channels
        self.channels, self.points = channels, points
        self.embed = nn.Sequential(nn.Linear(points * 64, C), nn.ReLU(), nn.LayerNorm(C), nn.Linear(C, C))
        self.time = nn.Sequential(nn.Linear(C, 4 * C), nn.Mish(), nn.Linear(4 * C, C))
        self.layers = nn.ModuleList(PublishedLayer(C, heads, ffn, points) for _ in range(layers))

    @staticmethod
    def of(head: DiffusionHead) -> PublishedHead:
        """The same weights (the ego attention's queries and keys, which have no effect, are left as they are)."""
        config = head.config
        made = PublishedHead(config.channels, config.heads, config.ffn, config.points, config.layers)
        made.anchors = head.anchors
        dtype = head.places.inner.weight.dtype
        made.to(dtype)
        copy(made.embed, head.places.inner, None, head.places.norm, head.places.outer)
        copy(made.time, head.level.inner, None, head.level.outer)
        for to, from_ in zip(made.layers, head.layers, strict=True):
            assert isinstance(to, PublishedLayer)
            assert isinstance(from_, CascadeLayer)
            to.point_weight.load_state_dict(from_.spatial.weight.state_dict())
            to.sample_out.load_state_dict(from_.spatial.out.state_dict())
            copy(to.value, from_.spatial.value, None)
            attention(to.agents, [from_.agents.query, from_.agents.key, from_.agents.value], from_.agents.out)
            rest = [nn.Linear(config.channels, config.channels).to(dtype) for _ in range(2)]
            attention(to.ego, [*rest, from_.ego.value], from_.ego.out)
            copy(to.ffn, from_.ffn_in, None, from_.ffn_out)
            for norm, source in zip(to.norms, (from_.agents_norm, from_.ego_norm, from_.ffn_norm), strict=True):
                norm.load_state_dict(source.state_dict())
            copy(to.modulation, None, from_.modulation.linear)
            to.score.load_state_dict(from_.heads.score.state_dict())
            to.poses.load_state_dict(from_.heads.poses.state_dict())
        return made.eval()

    @torch.no_grad()
    def forward(self, bev: Tensor, agents: Tensor, ego: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Poses [B, K, T, 3] and logits [B, K] of noise [B, K, T, 2]: two passes, as published."""
        alphas_bar = torch.cumprod(1 - torch.linspace(1e-4**0.5, 0.02**0.5, LEVELS) ** 2, 0)
        sample = normalise(self.anchors).expand_as(noise)
        sample = alphas_bar[8].sqrt() * sample + (1 - alphas_bar[8]).sqrt() * noise
        for level in (10, 0):
            places = denormalise(sample.clamp(-1, 1))
            code = place_code(places).to(bev.dtype)
            poses, logits = self.decode(places, self.embed(code), self.level(level).to(bev.dtype), bev, agents, ego)
            clean = normalise(poses[..., :2])
            now, after = alphas_bar[level], alphas_bar[level - 1] if level else torch.tensor(1.0)
            noise_left = (sample - now.sqrt() * clean) / (1 - now).sqrt()
            sample = after.sqrt() * clean.clamp(-1, 1) + (1 - after).sqrt() * noise_left
        return poses, logits

    def decode(
        self, places: Tensor, feature: Tensor, code: Tensor, bev: Tensor, agents: Tensor, ego: Tensor
    ) -> tuple[Tensor, Tensor]:
        level = self.time(code)
        for layer in self.layers:
            poses, logits = layer(feature, places, bev, agents, ego, level)
            places = poses[..., :2]
        return poses, logits

    def level(self, level: int) -> Tensor:
        half = self.channels // 2
        angle = level * torch.exp(torch.arange(half) * -(math.log(10_000) / (half - 1)))
        return torch.cat((angle.sin(), angle.cos()))[None, None]


def place_code(places: Tensor) -> Tensor:
    number = torch.arange(32)
    wave = 10_000 ** (2 * (number // 2).float() / 32)
    halves = []
    for column in (1, 0):
        angle = places[..., column, None] * 2 * math.pi / wave
        halves.append(torch.where(number % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(halves, dim=-1).flatten(-2)


def normalise(places: Tensor) -> Tensor:
    return torch.stack((2 * (places[..., 0] + 1.2) / 56.9 - 1, 2 * (places[..., 1] + 20) / 46 - 1), dim=-1)


def denormalise(values: Tensor) -> Tensor:
    return torch.stack(((values[..., 0] + 1) / 2 * 56.9 - 1.2, (values[..., 1] + 1) / 2 * 46 - 20), dim=-1)


def copy(sequence: nn.Sequential, *modules: nn.Module | None) -> None:
    for to, from_ in zip(sequence, modules, strict=True):
        if from_ is not None:
            to.load_state_dict(from_.state_dict())


def attention(to: nn.MultiheadAttention, inputs: list[nn.Linear], out: nn.Linear) -> None:
    to.in_proj_weight.data.copy_(torch.cat([part.weight for part in inputs]))
    to.in_proj_bias.data.copy_(torch.cat([part.bias for part in inputs]))
    to.out_proj.load_state_dict(out.state_dict())
