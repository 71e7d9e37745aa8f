"""How ddim_scheduler.json was made: diffusers 0.42.1's DDIMScheduler, installed apart from the project.

    pip install --no-deps --target PEERS diffusers==0.42.1
    PYTHONPATH=PEERS python tests/golden/ddim_scheduler.py

The denoiser is any fixed function of the sample and the level, here `answer`, which also leaves +-1 so that the
scheduler's clipping is seen. Chains start from the same numbers that the test starts from.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

START = [-1.2, -0.9, -0.35, 0.0, 0.2, 0.77, 1.0, 1.4]
CLEAN = [-1.0, -0.8, -0.3, 0.05, 0.25, 0.7, 0.95, 1.0]


def answer(sample: float, level: int) -> float:
    """What the stand-in for the network says."""
    return 1.3 * math.tanh(1.5 * sample) + 0.0002 * level - 0.05


def main() -> None:
    import torch
    from diffusers import DDIMScheduler

    def scheduler(passes: int) -> Any:
        made = DDIMScheduler(num_train_timesteps=1000, beta_schedule="scaled_linear", prediction_type="sample")
        made.set_timesteps(passes)
        return made

    def chain(passes: int, levels: list[int]) -> list[list[float]]:
        made, sample, seen = scheduler(passes), torch.tensor(START), []
        for level in levels:
            said = torch.tensor([answer(float(s), level) for s in sample])
            sample = made.step(said, level, sample).prev_sample
            seen.append(sample.tolist())
        return seen

    plain = scheduler(1000)
    noised = {
        str(level): plain.add_noise(torch.tensor(CLEAN), torch.tensor(START), torch.tensor([level])).tolist()
        for level in (0, 8, 10, 49, 999)
    }
    golden = {
        "diffusers": __import__("diffusers").__version__,
        "alphas_bar": {str(i): float(plain.alphas_cumprod[i]) for i in (0, 8, 9, 10, 20, 49, 500, 999)},
        "add_noise": noised,
        "leading_20": scheduler(20).timesteps.tolist(),
        "as_published": chain(1000, [10, 0]),
        "as_published_nuscenes": chain(1000, [20, 0]),
        "true_ddim": chain(100, [10, 0]),
        "from_white_noise": chain(20, scheduler(20).timesteps.tolist()),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
