"""Between our loop and Lightning Fabric: devices, the module that Fabric wraps, what processes agree on, signals."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from drive.errors import UserError
from drive.train.config import TrainConfig

_PRECISION = {"32": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}


class Batch(Protocol):
    """What training needs of a batch (`FrameBatch` and `TrackBatch` are some)."""

    @property
    def frame_ids(self) -> list[str]: ...

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name, to look at where a value is not finite."""
        ...

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        ...


class HiddenBatch:
    """A batch that mixed precision leaves alone.

    Fabric casts every float input to half precision; a coordinate of 50 m in bfloat16 is off by up to 12 cm. It looks
    into containers and dataclasses, not into this.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class LossModule(nn.Module):
    """Detector and losses as one forward pass, so that DDP sees every use of every parameter."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, hidden: HiddenBatch) -> dict[str, Tensor]:
        output: Any = self.detector(hidden.batch)
        losses: dict[str, Tensor] = self.detector.losses(output, hidden.batch)  # type: ignore[operator]
        return losses


def start_fabric(config: TrainConfig) -> Fabric:
    """Devices, precision and processes as configured; under torchrun, torchrun's processes.

    Raises:
        UserError: CUDA is asked for and not there, or fp16 on a CPU.
    """
    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise UserError("train.device", "no CUDA device is available", "set it to auto or cpu, or see `drive doctor`")
    device = "cuda" if cuda and config.device != "cpu" else "cpu"
    if device == "cpu" and config.precision == "16-mixed":
        raise UserError("train.precision", "16-mixed needs a GPU", "use 32 or bf16-mixed on a CPU")
    many = config.devices * config.nodes > 1
    fabric = Fabric(
        accelerator=device,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=DDPStrategy(find_unused_parameters=config.unused_parameters) if many else "auto",
        precision=_PRECISION[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def agree(fabric: Fabric, elapsed_s: float, stop: bool) -> tuple[float, bool]:
    """Longest time and any stop over all processes: they must end, save and stop at the same step."""
    if fabric.world_size == 1:
        return elapsed_s, stop
    mine = torch.tensor([elapsed_s, float(stop)], dtype=torch.float64, device=fabric.device)
    longest, any_stop = gather(fabric, mine).amax(dim=0).tolist()
    return longest, any_stop > 0


def gather(fabric: Fabric, value: Tensor) -> Tensor:
    """The value [...] of every process as [processes, ...], on every process."""
    if fabric.world_size == 1:
        return value[None]
    values = [torch.empty_like(value) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(values, value)
    return torch.stack(values)


class Signals:
    """Turns SIGINT and SIGTERM into `stop`, so that a step ends and a checkpoint is written; a second one interrupts.

    Only the main thread may handle signals; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.stop = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True
