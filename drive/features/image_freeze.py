"""Freezing parts of a backbone: they keep their weights, their norms' statistics, and drop nothing."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def modules_through(model: nn.Module, last: str) -> list[nn.Module]:
    """The modules of a backbone that run before the end of the module ``last``, each with all that is in it.

    Modules count in the order in which they were registered, which is the order in which they run. ``last`` may be
    written with dots or, as timm flattens its models, with underscores. ValueError where there is no such module.
    """
    wanted = last.replace(".", "_")
    leaves = [(name.replace(".", "_"), module) for name, module in model.named_modules() if not any(module.children())]
    inside = [i for i, (name, _) in enumerate(leaves) if name == wanted or name.startswith(wanted + "_")]
    if not inside:
        raise ValueError(f"no module {last} to freeze up to")
    frozen = {id(module) for _, module in leaves[: inside[-1] + 1]}
    whole = []
    for module in model.modules():
        own = [m for m in module.modules() if not any(m.children())]
        if all(id(m) in frozen for m in own):
            whole.append(module)
    return whole


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Every batch norm of a backbone."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def freeze(model: nn.Module, modules: list[nn.Module]) -> tuple[str, ...]:
    """Takes modules of a model out of training, and names them for `hold`."""
    for module in modules:
        module.requires_grad_(False)
    chosen = {id(module) for module in modules}
    names = tuple(name for name, module in model.named_modules() if id(module) in chosen)
    hold(model, names)
    return names


def hold(model: nn.Module, names: tuple[str, ...]) -> None:
    """Called after every ``train()``: frozen modules stay as in inference. By name: a norm may have been exchanged."""
    for name in names:
        model.get_submodule(name).training = False
