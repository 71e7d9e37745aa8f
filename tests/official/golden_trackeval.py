"""Keep what TrackEval says of the sequences in tests/golden/ab3dmot_tracking.npz: tests/golden/trackeval_hota.json.

pip install trackeval==1.3.0 && python -m tests.official.golden_trackeval
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from tests.official.trackeval_peer import hota
from tests.scores.mot_world import hota_cases

FILE = Path(__file__).parent.parent / "golden" / "trackeval_hota.json"


def main() -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        results = {name: hota(*case) for name, case in hota_cases().items()}
    FILE.write_text(json.dumps(results) + "\n")
    print(FILE, {name: result["HOTA(0)"] for name, result in results.items()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
