"""Run every ``compare_*.py`` of this folder in the official environment: ``make official``.

Each is a program of its own and says by its exit status whether ours and the official numbers agree. Arguments: parts
of names, to run only those.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(wanted: list[str]) -> int:
    scripts = [p for p in sorted(HERE.glob("compare_*.py")) if not wanted or any(w in p.stem for w in wanted)]
    if not scripts:
        print(f"error: no comparison is named {' or '.join(wanted)}", file=sys.stderr)
        return 2
    failed = []
    for script in scripts:
        begin = time.perf_counter()
        status = subprocess.run([sys.executable, str(script)], cwd=HERE).returncode
        print(
            f"{script.stem}: {'equal' if status == 0 else 'DIFFERS'} ({time.perf_counter() - begin:.0f} s)", flush=True
        )
        if status:
            failed.append(script.stem)
    if failed:
        print(f"error: {len(failed)} of {len(scripts)} comparisons differ: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
