"""Keep what AB3DMOT's own evaluation says of made-up sequences: tests/golden/ab3dmot_tracking.npz.

    git clone https://github.com/xinshuoweng/AB3DMOT && python -m tests.official.golden_ab3dmot AB3DMOT

The file holds the text of the sequences too, so that the test needs neither the repository nor this generator.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tests.official import ab3dmot_peer
from tests.scores.mot_world import make_sequence

FILE = Path(__file__).parent.parent / "golden" / "ab3dmot_tracking.npz"
WORLDS, SEQUENCES, FRAMES = 2, 2, 50
THRESHOLDS = (0.25, 0.5, 0.7)


def main() -> int:
    script = ab3dmot_peer.load(Path(sys.argv[1]).resolve())
    arrays: dict[str, np.ndarray] = {}
    results = {}
    for world in range(WORLDS):
        sequences = [make_sequence(1000 * world + s, FRAMES, objects=14) for s in range(SEQUENCES)]
        for s, (labels, found) in enumerate(sequences):
            arrays[f"labels_{world}_{s}"], arrays[f"found_{world}_{s}"] = np.array(labels), np.array(found)
        for threshold in THRESHOLDS:
            found_by_class = ab3dmot_peer.evaluate(script, sequences, [FRAMES] * SEQUENCES, threshold)
            results[f"{world}_{threshold}"] = found_by_class
    text = json.dumps({"frames": FRAMES, "sequences": SEQUENCES, "results": results})
    arrays["official"] = np.frombuffer(text.encode(), np.uint8)
    np.savez_compressed(FILE, **arrays)
    print(FILE, FILE.stat().st_size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
