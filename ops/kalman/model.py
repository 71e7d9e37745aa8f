"""Linear motion models: what is measured, what changes what."""

from dataclasses import dataclass

MOST_STATES = 16


@dataclass(frozen=True)
class Model:
    """A linear motion model.

    Attributes:
        states: D, entries of the state; at most 16.
        measured: m, the first m entries are measured.
        derivative: For every entry the entry that is its rate of change, or -1: x -> vx -> ax.
        heading: Entry (measured, radians) that wraps at 2 pi, or -1. Before an update the state's heading is turned by
            half a turn where it is more than a quarter turn from the measured one (AB3DMOT's correction: a box's front
            and back are easily confused); afterwards it lies in [-pi, pi).
    """

    states: int
    measured: int
    derivative: tuple[int, ...]
    heading: int = -1

    def __post_init__(self) -> None:
        if not 1 <= self.measured <= self.states <= MOST_STATES or len(self.derivative) != self.states:
            raise ValueError(
                f"kalman: a model needs 1..{MOST_STATES} states, 1..states measured and one derivative a state"
            )
        for entry, rate in enumerate(self.derivative):
            # Rates come later than what they change: no cycles.
            if rate != -1 and not entry < rate < self.states:
                raise ValueError(f"kalman: the derivative of state {entry} must be -1 or a later state, got {rate}")
        if not -1 <= self.heading < self.measured:
            raise ValueError(f"kalman: heading must be -1 or a measured state, got {self.heading}")


AB3DMOT = Model(10, 7, (7, 8, 9, -1, -1, -1, -1, -1, -1, -1), heading=3)
"""x y z yaw length width height vx vy vz; measured: a box. AB3DMOT itself takes dt = 1 for every frame."""
CONSTANT_VELOCITY = Model(4, 2, (2, 3, -1, -1))
"""x y vx vy; measured: a place."""
CONSTANT_ACCELERATION = Model(6, 2, (2, 3, 4, 5, -1, -1))
"""x y vx vy ax ay; measured: a place."""
