"""What holds for every data set whose images are files, when a log refers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_tools.convert import Choice, convert
from data_tools.verify import verify_log
from drive.logs.store import Log, list_logs


def check_references(dataset: str, raw: Path, work: Path, options: Any = None) -> int:
    """Convert with images copied and referenced: the same images, whose bytes only the first log holds. Their number.

    Args:
        work: A folder for the logs of both ways.
    """
    for name, choice in (("copied", Choice()), ("referenced", Choice(reference_images=True))):
        assert convert(dataset, raw, work / name, options, choice=choice).failed == ()
    count = 0
    for path in list_logs(work / "copied"):
        copied, referring = Log.open(path), Log.open(work / "referenced" / path.name)
        assert verify_log(referring.path).problems == []
        assert list(referring.sensors) == list(copied.sensors)
        for name, sensor in copied.sensors.items():
            if sensor.modality != "camera":
                continue
            payload = (referring.path / f"camera_{name}.arrow").read_bytes()
            assert referring.num_sweeps(name) == copied.num_sweeps(name)
            for row in range(copied.num_sweeps(name)):
                data = bytes(copied.image(name, row).data)
                assert bytes(referring.image(name, row).data) == data
                assert data not in payload
                count += 1
    return count
