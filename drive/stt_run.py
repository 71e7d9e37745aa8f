"""A trained STT as a tracker's configuration: the folder of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from drive.errors import UserError
from drive.tracks.stt_config import SttConfig, SttLife
from drive.tracks.stt_tracker import SttTracker
from drive.train.folder import CONFIG, WEIGHTS
from drive.train.weights import load_weights


@dataclass(frozen=True)
class SttTracking:
    """STT with the weights of a run.

    Attributes:
        run: The folder that ``drive train configs.kitti_stt`` (or another STT recipe) wrote.
        life: Rules of birth, report and end in place of those that the run was trained with.
    """

    run: str
    life: SttLife | None = None

    def build(self) -> SttTracker:
        """The tracker.

        Raises:
            UserError: the folder is no run, no STT's, or its weights do not fit.
        """
        from drive.experiment import Experiment  # it lists this class among the trackers

        folder = Path(self.run)
        experiment = Experiment.read(folder / CONFIG)
        if not isinstance(experiment.model, SttConfig):
            what = f"a run of {type(experiment.model).__name__}, which finds boxes"
            raise UserError(folder, what, "name a run of an STT recipe, such as configs.kitti_stt")
        config = experiment.model if self.life is None else replace(experiment.model, life=self.life)
        network = config.build()
        load_weights(network, folder / WEIGHTS)
        return SttTracker(network)
