"""The layers of STT: pre-norm attention over a handful of masked tokens, and MLPs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(channels: int, hidden: int, out: int) -> nn.Sequential:
    """The detection encoder's: linear, LayerNorm, GELU, linear, LayerNorm."""
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out), nn.LayerNorm(out)
    )


class Mlp(nn.Module):
    """Linear, GELU, linear: a head."""

    def __init__(self, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(channels, hidden), nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.gelu(self.first(x)))

    def start_at_zero(self) -> None:
        """Outputs 0 until it has learned."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class PairMlp(Mlp):
    """Mlp of [track; choice; track * choice] for every choice of every track, in two halves.

    ``forward`` gives the hidden layer of all pairs; ``last`` is for those that are asked about their state.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(3 * channels, channels, channels)

    def forward(self, tracks: Tensor, choices: Tensor) -> Tensor:  # type: ignore[override]
        """tracks [N, C], choices [N, K, C]: [N, K, C]. The track's own part is computed once a track."""
        own, other, both = self.first.weight.chunk(3, dim=1)
        hidden = F.linear(choices, other) + F.linear(tracks[:, None] * choices, both)
        return F.gelu(hidden + F.linear(tracks, own, self.first.bias)[:, None])

    def scored(self, hidden: Tensor, head: nn.Linear) -> Tensor:
        """``head(self.last(hidden))`` for a head to one number: two linear maps in a row are one. [..., C] -> [...]."""
        weight = head.weight @ self.last.weight
        return F.linear(hidden, weight, head.weight @ self.last.bias + head.bias)[..., 0]


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key_value = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.mlp = Mlp(channels, hidden, channels)

    def attend(self, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """query [N, Q, C] over tokens [N, T, C] where valid bool [N, T] (each row has one): [N, Q, C]."""
        n, asked, channels = query.shape
        head = self.heads, channels // self.heads
        q = self.query(query).view(n, asked, *head).transpose(1, 2)
        both = self.key_value(tokens).chunk(2, dim=2)
        k, v = (part.view(n, tokens.shape[1], *head).transpose(1, 2) for part in both)
        logits = q @ k.transpose(2, 3) * (channels // self.heads) ** -0.5
        share = logits.masked_fill(~valid[:, None, None, :], float("-inf")).softmax(dim=3)
        return self.out((share @ v).transpose(1, 2).reshape(n, asked, channels))

    def attend_once(self, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """``attend`` for one query a row: query [N, C] -> [N, C], the same numbers to rounding.

        Keys and values of the tokens are never made: q (K x) = (q K) x, and the shares sum to one, so that both
        projections act on N queries instead of on N T tokens.
        """
        n, channels = query.shape
        head = channels // self.heads
        key, value = self.key_value.weight.view(2, self.heads, head, channels)
        q = self.query(query).view(n, self.heads, head).transpose(0, 1)
        asked = (q @ key).transpose(0, 1)
        logits = asked @ tokens.transpose(1, 2) * head**-0.5
        share = logits.masked_fill(~valid[:, None, :], float("-inf")).softmax(dim=2)
        mixed = (share @ tokens).transpose(0, 1) @ value.transpose(1, 2)
        return self.out(mixed.transpose(0, 1).reshape(n, channels) + self.key_value.bias[channels:])


class SelfLayer(_Layer):
    """Tokens look at each other: x = x + MSA(LN(x)); x + MLP(LN(x))."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [N, T, C], valid bool [N, T]."""
        normed = self.norm(x)
        x = x + self.attend(normed, normed, valid)
        return x + self.mlp(self.mlp_norm(x))


class CrossLayer(_Layer):
    """One query a row looks at the row's tokens."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__(channels, heads, hidden)
        self.token_norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """query [N, C], tokens [N, T, C], valid bool [N, T]: [N, C]."""
        query = query + self.attend_once(self.norm(query), self.token_norm(tokens), valid)
        return query + self.mlp(self.mlp_norm(query))


def gaussian_nll(error: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log likelihood of an error under a normal distribution, without its constant."""
    bounded = log_variance.clamp(-8.0, 8.0)
    return 0.5 * (error.square() * torch.exp(-bounded) + bounded)
