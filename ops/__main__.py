"""The kernels in use, whether they are right, how fast (see USAGE)."""

import sys

import torch

from ops import enable_unproven_cuda, kernels_in_use
from ops.kernels import OPERATORS

USAGE = "usage: python -m ops table | check [--cuda] | bench [threads [operator ...]] | bench --cuda"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 1 where a kernel is wrong, 2 for a wrong command."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "table" and not rest:
        for row in kernels_in_use():
            print(f"{row.op:18s}{row.device:6s}{row.kernel:28s}{row.reason}")
        return 0
    if rest == ["--cuda"] and verb in ("check", "bench"):
        if not torch.cuda.is_available():
            print("error: --cuda: torch sees no GPU here; run it on a machine with one", file=sys.stderr)
            return 2
        enable_unproven_cuda()
    if verb == "check" and rest in ([], ["--cuda"]):
        from ops.check import failures

        return int(failures("cuda" if rest else "cpu") > 0)
    if verb == "bench" and rest == ["--cuda"]:
        from ops import bench_device

        print(bench_device.table(bench_device.measure("cuda"), "cuda"))
        return 0
    if verb == "bench" and (not rest or (rest[0].isdigit() and int(rest[0]) > 0 and set(rest[1:]) <= set(OPERATORS))):
        from ops.bench import measure, table

        threads = int(rest[0]) if rest else 1
        print(table(measure(threads, wanted=rest[1:]), threads))
        return 0
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
