"""A trained ``Stt`` made ready for tracking on the CPU: the same numbers to float32's rounding, in less time.

What is saved, in order of what it brings at the specification's sizes:

- No padding: observations and pairs that are not there have no rows.
- No new memory: large results go to buffers that stay (a fresh one of 2 MB costs 500 page faults).
- Products that do not depend on the frame are made once: what the learned query asks of every history, the "no match"
  choice's keys and its part of every pair, gains of norms in front of a product, constants that a softmax cancels.
- Two linear maps in a row are one (the pair's last layer and the heads' first; see ``PairMlp.scored``).
- Attention inside a history on ragged rows (ops.window_attention), one query's as one compiled step.

Matrix products stay torch's: at 256 channels they run at the processor's rate.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from drive.tracks.stt_batch import TrackInputs
from drive.tracks.stt_layers import CrossLayer, SelfLayer
from drive.tracks.stt_rows import add_norm, laid_out, look_once, pair_rows, rows_of
from ops.window_attention import cpu as window_attention

if TYPE_CHECKING:
    from drive.tracks.stt import Estimate, Stt

_kept = threading.local()


class Pairs(NamedTuple):
    """logits: [N, 1 + K], -inf where there is no detection; hidden: [R + N, C], ``PairMlp``'s hidden layer of each pair
    and of each track with none, a buffer that the next call in this thread uses again; rows: int64 [N, 1 + K] in it."""

    logits: Tensor
    hidden: Tensor
    rows: Tensor


class _Linear(NamedTuple):
    """x -> x weight + bias; weight [inputs, outputs]."""

    weight: Tensor
    bias: Tensor

    def into(self, name: str, x: Tensor) -> Tensor:
        """The product in the buffer of that name."""
        return torch.addmm(self.bias, x, self.weight, out=buffer(name, len(x), self.weight.shape[1]))


class _Norm(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray
    eps: float

    def after(self, x: Tensor, shift: Tensor, out: Tensor) -> Tensor:
        """x [R, C] += shift; LayerNorm of it in ``out``, which may be x."""
        add_norm(x.numpy(), shift.numpy(), self.weight, self.bias, np.float32(self.eps), out.numpy())
        return out


def buffer(name: str, rows: int, columns: int) -> Tensor:
    """float32 [rows, columns] of this thread; what was in it is lost. Grows by halves."""
    held: dict[str, Tensor] = vars(_kept)
    if name not in held or held[name].numel() < rows * columns:
        with torch.inference_mode(False):  # what is made in that mode could only be used in it
            held[name] = torch.empty(rows * columns * 3 // 2)
    return held[name][: rows * columns].view(rows, columns)


class PreparedStt:
    """``Stt.associate``, ``estimate`` and ``newborn`` for tracking. It keeps what the weights were when it was made."""

    def __init__(self, network: Stt) -> None:
        with torch.no_grad():
            self._prepare(network)

    def _prepare(self, network: Stt) -> None:
        self.config = network.config
        width = self.config.width
        self.nothing = torch.zeros(width)
        self.plain = _Norm(np.ones(width, np.float32), np.zeros(width, np.float32), network.pool.token_norm.eps)
        self.encoder = _Encoder(network.detection_encoder)
        self.time = _linear(network.time_embedding)
        self.fourier = network.fourier
        self.fusion = [_Self(layer) for layer in network.fusion]  # type: ignore[arg-type]
        self.pool = _Cross(network.pool)
        self.query = network.track_query.detach().clone()
        self.asked = self.pool.ask(self.query[None], self.nothing).clone()
        self.no_match = network.no_match.detach().clone()[None]
        self.no_match_token = self.plain.after(self.no_match.clone(), self.nothing, torch.empty(1, width))
        self.interaction = [_Cross(layer) for layer in network.interaction]  # type: ignore[arg-type]
        own, other, both = network.pair.first.weight.detach().chunk(3, dim=1)
        bias = network.pair.first.bias.detach()
        self.own = _Linear(own.T.contiguous(), bias.clone())
        self.other, self.both = other.T.contiguous(), both.T.contiguous()
        self.alone = _Linear((own + both * self.no_match).T.contiguous(), bias + (self.no_match @ other.T)[0])
        head, last = network.association_head, network.pair.last
        self.score = _Linear((head.weight @ last.weight).detach().T.contiguous(), head.weight @ last.bias + head.bias)
        heads = (network.state_head, network.existence_head, network.box_head)
        first = torch.cat([h.first.weight for h in heads])
        bias = torch.cat([h.first.bias for h in heads])
        self.heads_first = _Linear((first @ last.weight).T.contiguous(), first @ last.bias + bias)
        self.heads_last = _Linear(
            torch.block_diag(*(h.last.weight for h in heads)).T.contiguous(), torch.cat([h.last.bias for h in heads])
        )
        self.birth = _linear(network.birth_head.first), _linear(network.birth_head.last)

    def associate(self, x: TrackInputs) -> Pairs:
        """Every track with every detection that it looks at."""
        track = self.temporal_fusion(x)
        valid = x.nearby_valid.numpy()
        places, owner, offsets = rows_of(valid)
        detections = self.encoder(_chosen(x.nearby, places), "detections")
        rows, width = detections.shape
        tokens = self.plain.after(detections, self.nothing, buffer("tokens", rows, width))
        shift = self.pool.shift
        for layer in self.interaction:
            layer(track, layer.ask(track, shift), self.no_match_token, tokens, offsets)
            shift = layer.shift
        track += shift
        product, hidden = tokens, buffer("queries", rows + len(track), width)
        own = self.own.into("own", track)
        pair_rows(track.numpy(), own.numpy(), detections.numpy(), owner, product.numpy(), hidden.numpy())
        hidden[:rows].addmm_(detections, self.other).addmm_(product, self.both)
        torch.addmm(self.alone.bias, track, self.alone.weight, out=hidden[rows:])
        torch.ops.aten.gelu_(hidden)
        scores = torch.addmm(self.score.bias, hidden, self.score.weight)[:, 0]
        logits, at = laid_out(valid, scores.numpy())
        return Pairs(torch.from_numpy(logits), hidden, torch.from_numpy(at))

    def temporal_fusion(self, x: TrackInputs) -> Tensor:
        """Histories -> track features [N, C] less ``pool.shift``, in a buffer."""
        places, _, offsets = rows_of(x.history_valid.numpy())
        tokens = self.encoder(_chosen(x.history, places), "history")
        tokens.addmm_(self.fourier(_chosen(x.history_s[..., None], places)[:, 0]), self.time.weight)
        shift = self.time.bias
        for layer in self.fusion:
            layer(tokens, shift, offsets)
            shift = layer.shift
        normed = self.plain.after(tokens, shift, buffer("norm", *tokens.shape))
        track = buffer("track", len(offsets) - 1, tokens.shape[1]).copy_(self.query)
        self.pool(track, self.asked, self.no_match[:0], normed, offsets)
        return track

    def estimate(self, pairs: Pairs, choice: Tensor) -> Estimate:
        """As ``Stt.estimate``."""
        from drive.tracks.stt import Estimate

        chosen = pairs.hidden[pairs.rows.gather(1, choice[:, None])[:, 0]]
        hidden = torch.ops.aten.gelu_(torch.addmm(self.heads_first.bias, chosen, self.heads_first.weight))
        found = torch.addmm(self.heads_last.bias, hidden, self.heads_last.weight)
        return Estimate(found[:, :4], found[:, 4:8], found[:, 8], found[:, 9:])

    def newborn(self, alone: Tensor) -> Tensor:
        """As ``Stt.newborn``."""
        first, last = self.birth
        hidden = first.into("own", self.encoder(alone, "detections"))
        return torch.addmm(last.bias, torch.ops.aten.gelu_(hidden), last.weight)[:, 0]


class _Encoder:
    """``mlp``: linear, LayerNorm, GELU, linear, LayerNorm."""

    def __init__(self, layers: nn.Sequential) -> None:
        first, norm, _, second, last_norm = layers
        self.first, self.second = _linear(first), _linear(second)  # type: ignore[arg-type]
        self.norm, self.last_norm = _norm(norm), _norm(last_norm)  # type: ignore[arg-type]
        self.nothing = torch.zeros_like(self.first.bias)

    def __call__(self, x: Tensor, name: str) -> Tensor:
        """[R, F] -> [R, C] in the buffer of that name."""
        hidden = self.first.into("long", x)
        out = self.second.into(name, torch.ops.aten.gelu_(self.norm.after(hidden, self.nothing, hidden)))
        return self.last_norm.after(out, self.nothing, out)


class _Layer:
    """Both layers' projections and MLP. ``shift``: what is still to be added to what the call leaves, by the next."""

    def __init__(self, layer: SelfLayer | CrossLayer) -> None:
        self.heads = layer.heads
        self.norm, self.mlp_norm = _norm(layer.norm), _norm(layer.mlp_norm)
        self.first, last = _linear(layer.mlp.first), _linear(layer.mlp.last)
        self.last, self.shift = last.weight, last.bias
        self.query = _linear(layer.query)
        channels = layer.query.in_features
        scale = (channels // layer.heads) ** -0.5
        self.query = _Linear(self.query.weight * scale, self.query.bias * scale)
        self.out, self.out_shift = _linear(layer.out)

    def feed(self, x: Tensor) -> None:
        """x += out_shift + MLP(LN(x + out_shift)) less ``shift``."""
        normed = self.mlp_norm.after(x, self.out_shift, buffer("norm", *x.shape))
        x.addmm_(torch.ops.aten.gelu_(self.first.into("long", normed)), self.last)


class _Self(_Layer):
    """``SelfLayer``. A key's bias adds the same to all logits of a query; a value's comes out as it is."""

    def __init__(self, layer: SelfLayer) -> None:
        super().__init__(layer)
        channels = len(self.out)
        both = _linear(layer.key_value)
        self.queries = _Linear(
            torch.cat([self.query.weight, both.weight], dim=1),
            torch.cat([self.query.bias, torch.zeros(2 * channels)]),
        )
        self.out_shift = self.out_shift + both.bias[channels:] @ self.out

    def __call__(self, x: Tensor, shift: Tensor, offsets: np.ndarray) -> None:
        """x [R, C] += shift + the layer of that, less ``self.shift``."""
        rows, channels = x.shape
        normed = self.norm.after(x, shift, buffer("norm", rows, channels))
        queries = self.queries.into("queries", normed).view(rows, 3, self.heads, channels // self.heads).numpy()
        given = queries[:, 0], queries[:, 1], queries[:, 2], offsets
        mixed, _ = window_attention.forward(*given, scale=1.0, threads=torch.get_num_threads())
        x.addmm_(torch.from_numpy(mixed).view(rows, channels), self.out)
        self.feed(x)


class _Cross(_Layer):
    """``CrossLayer``. Its tokens' norm has no gain and bias: they are in ``key``, ``value`` and ``out_shift``."""

    def __init__(self, layer: CrossLayer) -> None:
        super().__init__(layer)
        channels = len(self.out)
        gain, bias = layer.token_norm.weight.detach(), layer.token_norm.bias.detach()
        key, value = layer.key_value.weight.detach().view(2, self.heads, channels // self.heads, channels)
        self.key = (key * gain).contiguous()  # [H, D, C]
        self.value = (value * gain).transpose(1, 2).contiguous()  # [H, C, D]
        constant = layer.key_value.bias.detach()[channels:] + (value @ bias).reshape(channels)
        self.out_shift = self.out_shift + constant @ self.out

    def ask(self, x: Tensor, shift: Tensor) -> Tensor:
        """x [N, C] += shift; what each row asks of tokens: [N, H, C], in a buffer."""
        rows, channels = x.shape
        normed = self.norm.after(x, shift, buffer("norm", rows, channels))
        query = self.query.into("query", normed).view(rows, self.heads, channels // self.heads)
        asked = buffer("asked", rows, self.heads * channels).view(rows, self.heads, channels)
        for h in range(self.heads):
            torch.mm(query[:, h], self.key[h], out=asked[:, h])
        return asked

    def __call__(self, x: Tensor, asked: Tensor, common: Tensor, tokens: Tensor, offsets: np.ndarray) -> None:
        """x [N, C], of which ``asked`` was made, += the layer of it, less ``self.shift``; arguments of look_once."""
        rows, channels = x.shape
        mixed = buffer("mixed", self.heads * rows, channels).view(self.heads, rows, channels)
        look_once(asked.numpy(), common.numpy(), tokens.numpy(), offsets, mixed.numpy())
        values = buffer("query", rows, channels).view(rows, self.heads, channels // self.heads)
        for h in range(self.heads):
            torch.mm(mixed[h], self.value[h], out=values[:, h])
        x.addmm_(values.view(rows, channels), self.out)
        self.feed(x)


def _chosen(x: Tensor, places: np.ndarray) -> Tensor:
    """Rows ``places`` of x [N, K, F] as [N K, F]; x itself where these are all."""
    flat = x.reshape(-1, x.shape[2])
    return flat if len(places) == len(flat) else flat[torch.from_numpy(places)]


def _linear(layer: nn.Linear) -> _Linear:
    return _Linear(layer.weight.detach().T.contiguous(), layer.bias.detach().clone())


def _norm(layer: nn.LayerNorm) -> _Norm:
    return _Norm(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy(), layer.eps)
