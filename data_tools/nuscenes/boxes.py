"""Annotations to boxes: ego frame, velocity by the devkit's rule, interpolation to sweeps."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.nuscenes.load import AnnotationTable
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import invert, quaternion_to_matrix, rotate_vectors, slerp, transform_points, yaw_of_matrix

# NuScenes.box_velocity: no estimate over a longer gap between the two annotations, twice as long with both sides.
MAX_GAP_S = 1.5


@dataclass(frozen=True)
class Annotations:
    """The N annotations of one instant in the global frame.

    translation [N, 3], rotation [N, 4] (w x y z), size [N, 3] (width, length, height) as recorded; velocity [N, 3] m/s
    with 0 where velocity_valid is false; point counts int64 [N] or None for interpolated ones.
    """

    translation: np.ndarray
    rotation: np.ndarray
    size: np.ndarray
    velocity: np.ndarray
    velocity_valid: np.ndarray
    category: list[str]
    instance: list[str]
    attributes: list[str]
    visibility: list[str]
    token: list[str]
    num_lidar_points: np.ndarray | None
    num_radar_points: np.ndarray | None

    def in_ego(self, global_from_ego: np.ndarray) -> np.ndarray:
        """Boxes float64 [N, 9] in an ego frame: yaw of the rotated x axis, planar velocity."""
        ego_from_global = invert(global_from_ego)
        rotation = ego_from_global[:3, :3] @ quaternion_to_matrix(self.rotation.reshape(-1, 4))
        boxes = np.zeros((len(self.category), 9))
        boxes[:, :3] = transform_points(ego_from_global, self.translation)
        boxes[:, 3:6] = self.size[:, [1, 0, 2]]
        boxes[:, 6] = wrap_angle(yaw_of_matrix(rotation))
        boxes[:, 7:9] = rotate_vectors(ego_from_global, self.velocity)[:, :2]
        return boxes


def velocities(
    annotations: AnnotationTable, sample_timestamps: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Global velocities [N, 3] and where they are known [N], by NuScenes.box_velocity of the devkit.

    Centred difference of the neighbours' positions where both exist, else one-sided. Seconds are computed exactly as
    there (1e-6 times microseconds, then the difference), so that both agree to the last bits.
    """
    row_of = {token: row for row, token in enumerate(annotations.token)}
    here = np.arange(len(annotations.token))
    first, last = here.copy(), here.copy()
    for name, tokens, rows in (("prev", annotations.prev, first), ("next", annotations.next, last)):
        for row, token in enumerate(tokens):
            if token:
                if token not in row_of:
                    what = f"{annotations.token[row]!r} has {name} {token!r}, which is not in its scene"
                    raise UserError(path, what, "the tables do not fit together: get them again")
                rows[row] = row_of[token]
    seconds = 1e-6 * sample_timestamps[annotations.sample]
    gap = seconds[last] - seconds[first]
    limit = np.where((first != here) & (last != here), 2 * MAX_GAP_S, MAX_GAP_S)
    valid = (first != last) & (gap > 0) & (gap <= limit)
    velocity = np.zeros((len(here), 3))
    moved = annotations.translation[last] - annotations.translation[first]
    velocity[valid] = moved[valid] / gap[valid, None]
    return velocity, valid


def by_sample(annotations: AnnotationTable, sample_timestamps: np.ndarray, path: Path) -> list[Annotations]:
    """Annotations of every sample of a scene; timestamps of the samples in microseconds."""
    velocity, valid = velocities(annotations, sample_timestamps, path)
    offsets = np.searchsorted(annotations.sample, np.arange(len(sample_timestamps) + 1))
    return [
        Annotations(
            translation=annotations.translation[a:b],
            rotation=annotations.rotation[a:b],
            size=annotations.size[a:b],
            velocity=velocity[a:b],
            velocity_valid=valid[a:b],
            category=annotations.category[a:b],
            instance=annotations.instance[a:b],
            attributes=annotations.attributes[a:b],
            visibility=annotations.visibility[a:b],
            token=annotations.token[a:b],
            num_lidar_points=annotations.num_lidar_points[a:b],
            num_radar_points=annotations.num_radar_points[a:b],
        )
        for a, b in itertools.pairwise(offsets)
    ]


def interpolate(before: Annotations, after: Annotations, share: float) -> Annotations:
    """Annotations at `share` (0..1) of the way between two samples, of the instances that both samples hold.

    Positions and velocities linear, rotations by slerp, size of the later one, as NuScenes.get_boxes does; unlike it,
    an instance that only the later sample holds is left out instead of being shown where it is not yet. Attributes and
    visibility stay only where both samples agree; there are no point counts and no annotation tokens.
    """
    row_before = {token: row for row, token in enumerate(before.instance)}
    pairs = [(row_before[token], row) for row, token in enumerate(after.instance) if token in row_before]
    a = np.array([p[0] for p in pairs], np.int64)
    b = np.array([p[1] for p in pairs], np.int64)
    valid = before.velocity_valid[a] & after.velocity_valid[b]
    velocity = (1 - share) * before.velocity[a] + share * after.velocity[b]

    def agreed(left: list[str], right: list[str]) -> list[str]:
        return [left[i] if left[i] == right[j] else "" for i, j in pairs]

    return Annotations(
        translation=(1 - share) * before.translation[a] + share * after.translation[b],
        rotation=slerp(before.rotation[a], after.rotation[b], np.full(len(pairs), share)),
        size=after.size[b],
        velocity=np.where(valid[:, None], velocity, 0.0),
        velocity_valid=valid,
        category=[after.category[j] for j in b],
        instance=[after.instance[j] for j in b],
        attributes=agreed(before.attributes, after.attributes),
        visibility=agreed(before.visibility, after.visibility),
        token=[""] * len(pairs),
        num_lidar_points=None,
        num_radar_points=None,
    )
