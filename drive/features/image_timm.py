"""timm's models as image backbones: the import that survives a broken torchvision, and one face for all of them.

timm imports torchvision for its data pipelines, which nothing here uses. An installed torchvision that does not match
torch fails at that import (``operator torchvision::nms does not exist``); the models themselves need only torch.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.image_freeze import modules_through

INSTALL = "pip install 'drivewright[camera]'"


def torchvision_fault() -> str | None:
    """Why torchvision cannot be imported, in one line, or None. It is tried once a process."""
    if isinstance(sys.modules.get("torchvision"), ModuleType):
        return None
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a mismatched build raises RuntimeError, OSError or AttributeError, by release
        for name in _torchvision_modules():  # what the failed import left behind
            del sys.modules[name]
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return None


def import_timm() -> ModuleType:
    """timm, also where torchvision is missing or broken: then with a warning, and with its models alone.

    UserError where timm is not installed or does not import.
    """
    if "timm" in sys.modules:
        return sys.modules["timm"]
    if importlib.util.find_spec("timm") is None:
        raise UserError("timm", "is not installed: image backbones other than 'plain' are its models", INSTALL)
    fault = torchvision_fault()
    stand_in = _StandIn()
    if fault is not None:
        warnings.warn(
            f"torchvision cannot be imported ({fault}): going on with timm's models alone, which do not need it; "
            "install the torchvision that belongs to this torch (drive doctor names the pair)",
            stacklevel=2,
        )
        sys.meta_path.insert(0, stand_in)
    try:
        return importlib.import_module("timm")
    except Exception as error:
        for name in [n for n in sys.modules if n == "timm" or n.startswith("timm.")]:
            del sys.modules[name]
        raise UserError("timm", f"does not import ({type(error).__name__}: {error})", f"{INSTALL} again") from error
    finally:
        if fault is not None:
            sys.meta_path.remove(stand_in)
            for name in _torchvision_modules():  # whoever wants torchvision gets its own error, not our stand-in
                del sys.modules[name]


def synchronised_batch_norms(model: nn.Module) -> nn.Module:
    """The model with batch norms that share their statistics over processes. torch's own conversion forgets the
    activation that is a part of many of timm's norms; timm's keeps it."""
    layers = sys.modules.get("timm.layers")
    convert = nn.SyncBatchNorm.convert_sync_batchnorm if layers is None else layers.convert_sync_batchnorm
    return convert(model)


def _torchvision_modules() -> list[str]:
    return [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]


class _AbsentType(type):
    """Members of an enumeration, which timm uses as keys, are their own names."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__module__}.{cls.__name__}.{name}"


class _Absent(nn.Module, metaclass=_AbsentType):
    """What a name of torchvision is while timm is imported: a class, so that isinstance and subclassing work."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ImportError(f"{type(self).__name__} is torchvision's, which could not be imported here")


class _AbsentModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Absent,), {"__module__": self.__name__})


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of torchvision, as one whose names are classes that cannot be built."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        # timm asks for these two behind "except ImportError", and then knows that graph extraction is not there.
        if name.partition(".")[0] != "torchvision" or name == "torchvision.models.feature_extraction":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _AbsentModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class TimmBackbone(nn.Module):
    """Normalised images [N, 3, H, W] -> one map [N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])] a level.

    strides, channels: of the levels, fine to coarse, as the model has them. mean, std: of its training, in [0, 1].
    """

    def __init__(
        self,
        name: str,
        strides: tuple[int, ...] = (),
        finest: int = 1,
        pretrained: bool = False,
        checkpoint: str = "",
        image_size: tuple[int, int] | None = None,
        drop_path: float = 0.0,
    ) -> None:
        """strides: which levels; empty: all from stride ``finest`` on. image_size: (height, width), for models
        that are built for one size. UserError where the model, a level or its weights are not to be had.
        """
        super().__init__()
        timm = import_timm()
        place = f"image backbone {name}"
        if not timm.is_model(name):
            near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), 3)
            mend = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
            raise UserError(place, f"timm {timm.__version__} has no model of this name", mend)
        arguments: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        self.image_size = self.padded = None
        if timm.get_pretrained_cfg(name).fixed_input_size:
            if image_size is None:
                raise UserError(place, "is built for one image size", "set image_size=(height, width) beside it")
            self.image_size = image_size
            self.padded = (-(-image_size[0] // 32) * 32, -(-image_size[1] // 32) * 32)
            arguments["img_size"] = self.padded
        weights: dict[str, Any] = {"pretrained": pretrained}
        if checkpoint:
            weights = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": _read(checkpoint)}}
        model = _create(timm, place, name, {**arguments, **weights}, checkpoint)
        levels = {info["reduction"]: i for i, info in enumerate(model.feature_info.info)}  # the last of each stride
        strides = strides or tuple(s for s in levels if s >= finest) or (max(levels),)
        missing = [s for s in strides if s not in levels]
        if missing:
            have = ", ".join(map(str, levels))
            raise UserError(place, f"has no level of stride {missing[0]}, only {have}", "ask for strides among these")
        chosen = [levels[s] for s in strides]
        given = list(model.feature_info.out_indices)
        if chosen[-1] != given[-1] or not set(chosen) <= set(given):  # without the stages behind the last level
            model = _create(timm, place, name, {**arguments, **weights, "out_indices": chosen}, checkpoint)
            given = chosen
        self.model = model
        self.take = [given.index(i) for i in chosen]
        self.strides = tuple(int(model.feature_info.info[i]["reduction"]) for i in chosen)
        self.channels = tuple(int(model.feature_info.info[i]["num_chs"]) for i in chosen)
        self.ends = {int(info["reduction"]): str(info["module"]) for info in model.feature_info.info}
        form = getattr(model, "output_fmt", "NCHW")  # an enumeration; some families have none
        self.channels_last_maps = getattr(form, "value", form) == "NHWC"
        self.mean, self.std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])

    def through(self, stride: int) -> list[nn.Module]:
        """The modules that make the level of this stride. ValueError where there is no such level."""
        return modules_through(self.model, self.ends.get(stride, f"of stride {stride}"))

    def forward(self, x: Tensor) -> list[Tensor]:
        high, wide = x.shape[2:]
        if self.padded is not None:
            if (high, wide) != self.image_size:
                raise ValueError(f"images of {high} x {wide} for a backbone built for {self.image_size}")
            x = F.pad(x, (0, self.padded[1] - wide, 0, self.padded[0] - high))
        maps = self.model(x)
        maps = [maps[i].permute(0, 3, 1, 2) if self.channels_last_maps else maps[i] for i in self.take]
        return [_fit(m, -(-high // s), -(-wide // s)) for m, s in zip(maps, self.strides, strict=True)]


def _fit(x: Tensor, high: int, wide: int) -> Tensor:
    """Crops what padding added; stretches the maps of models that pad nothing (Inception's lose their border)."""
    if x.shape[2] < high or x.shape[3] < wide:
        return F.interpolate(x, (high, wide), mode="bilinear", align_corners=False)
    return x[:, :, :high, :wide]


def _create(timm: ModuleType, place: str, name: str, arguments: dict[str, Any], checkpoint: str) -> Any:
    try:
        if not checkpoint:
            return timm.create_model(name, features_only=True, **arguments)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = timm.create_model(name, features_only=True, **arguments)
            torch.manual_seed(0)  # what the file does not hold is as in a new model
            new = timm.create_model(name, features_only=True, **{**arguments, "pretrained": False})
    except Exception as error:
        text = str(error).strip()
        reason = f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
        if checkpoint:
            mend = "give a file of this very model's weights"
            raise UserError(checkpoint, f"does not fit {name} ({reason})", mend) from error
        if arguments["pretrained"]:
            mend = "set pretrained=False, or checkpoint to a local file of its weights"
            raise UserError(place, f"its pretrained weights could not be had ({reason})", mend) from error
        raise UserError(place, f"timm builds no feature maps of it ({reason})", "choose another model") from error
    pairs = zip(model.named_parameters(), new.parameters(), strict=True)
    random = [key for (key, a), b in pairs if torch.equal(a, b) and a.numel() > 1 and bool((b != b.flatten()[0]).any())]
    if random:
        what = f"does not hold {len(random)} of the tensors of {name} ({', '.join(random[:3])})"
        raise UserError(checkpoint, what, "give a file of this very model's weights")
    return model


def _read(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of a local file; runs no code of it."""
    path = Path(checkpoint)
    if not path.is_file():
        raise UserError(path, "no such file of weights", "give the path of a .safetensors, .bin or .pth file")
    try:
        if path.suffix == ".safetensors":
            return importlib.import_module("safetensors.torch").load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(path, f"cannot be read as weights ({reason})", "give a file of tensors alone") from error
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(tensors.get(key), dict):
            tensors = tensors[key]
            break
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
