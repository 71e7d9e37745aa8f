"""Rows of NAVSIM's public scorer, v1.1 and v2.2 (benchmarks/pdm_parity.py --golden): same worlds, same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.dynamics.controller import reference_poses
from drive.scores.pdm import NEVER, score_states
from drive.scores.pdm_comfort import two_frame_comfort
from drive.scores.pdm_config import PdmConfig
from tests.scores.pdm_world import TIMES_S, make_world, scene_of

GOLDEN = Path(__file__).parent.parent / "golden" / "pdm_navsim.npz"
EXACT = {
    "v1.1": ("nc", "dac", "ddc", "ttc", "comfort"),
    "v2-fixed": ("nc", "dac", "ddc", "tlc", "ttc", "lk", "comfort"),
}


@pytest.mark.parametrize("version", ["v1.1", "v2-fixed"])
def test_equal_to_navsim(version: str) -> None:
    with np.load(GOLDEN) as found:
        rows = {name.split("/")[1]: found[name] for name in found.files if name.startswith(f"{version}/")}
    config, seen = PdmConfig(version=version), {name: set() for name in EXACT[version]}  # type: ignore[arg-type, var-annotated]
    for seed in range(len(rows["nc"])):
        world = make_world(seed, agents=15, plans=8)
        # Another generator would make other worlds: then the rows say nothing.
        np.testing.assert_allclose(world.plans, rows["plans"][seed], atol=1e-9)
        scene = scene_of(world, config)
        states = config.tracker(scene.vehicle).track(reference_poses(world.plans, TIMES_S, world.ego0), world.ego0)
        np.testing.assert_allclose(states[:, -1], rows["end"][seed], atol=1e-6)
        table = score_states(scene, states, config)
        for name in EXACT[version]:
            np.testing.assert_array_equal(table.column(name), rows[name][seed], err_msg=f"{name}, world {seed}")
            seen[name] |= set(table.column(name).tolist())
        for name in ("ep", "progress_m", "score"):
            np.testing.assert_allclose(getattr(table, name), rows[name][seed], atol=1e-6, err_msg=name)
        for event in ("collision", "ttc"):
            steps = np.where(table.steps[event] == NEVER, np.inf, table.steps[event])
            np.testing.assert_array_equal(steps, rows[f"{event}_step"][seed])
        if config.second:
            ec = two_frame_comfort(states, np.roll(states, 1, axis=0), 5, config)
            np.testing.assert_array_equal(ec, rows["ec"][seed])
    assert all(len(values) > 1 for values in seen.values()), seen
