"""Two equal backbones as one (CBNet, Liu et al. 2020): the assistant sees first, the lead sees with its help.

The maps of each of the assistant's stages, through a 1x1 convolution with batch norm and brought to the size, are added
to what enters the same stage of the lead (the paper's adjacent higher-level composition, recalled).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from drive.errors import UserError
from drive.features.fpn import conv_or_norm, upsample_like
from drive.features.image_timm import TimmBackbone


class ComposedBackbone(nn.Module):
    """As its parts: normalised images [N, 3, H, W] -> a map [N, channels[i], ceil(H / s), ceil(W / s)] a level."""

    def __init__(self, lead: TimmBackbone, assistant: TimmBackbone, finest: int) -> None:
        """lead, assistant: of one model, with all its levels to the coarsest. finest: stride of the first map out.

        UserError where the model is no chain of convolutional stages of doubling strides.
        """
        super().__init__()
        chain = hasattr(lead.model, "return_layers") and not lead.channels_last_maps and lead.padded is None
        if not chain or any(b != 2 * a for a, b in pairwise(lead.strides)):
            mend = "compose a ResNet, a Res2Net or another chain, or set composed=False"
            raise UserError("image backbone", "a model that is no chain of stages cannot be composed", mend)
        self.lead, self.assistant = lead, assistant
        self.links = nn.ModuleList(conv_or_norm(b, a, 1, norm=True) for a, b in pairwise(lead.channels))
        self.skip = sum(s < finest for s in lead.strides[:-1])
        self.strides, self.channels = lead.strides[self.skip :], lead.channels[self.skip :]
        self.mean, self.std = lead.mean, lead.std

    def through(self, stride: int) -> list[nn.Module]:
        """The modules of both parts that make the level of this stride. ValueError where there is no such level."""
        return self.lead.through(stride) + self.assistant.through(stride)

    def forward(self, x: Tensor) -> list[Tensor]:
        assists = self.assistant(x)[1:]
        maps: list[Tensor] = []
        for name, stage in self.lead.model.named_children():
            x = stage(x)
            if name in self.lead.model.return_layers:
                maps.append(x)
                if len(maps) <= len(self.links):  # before the next stage
                    x = x + upsample_like(self.links[len(maps) - 1](assists[len(maps) - 1]), x)
        return maps[self.skip :]
