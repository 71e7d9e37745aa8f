"""Rigid motions: quaternions (w x y z), 4x4 matrices named ``a_from_b``, interpolation. float64 throughout."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def quaternion_to_matrix(quaternion: npt.ArrayLike) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] (w x y z), which are normalised first."""
    q = np.asarray(quaternion, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    m = np.empty((*q.shape[:-1], 3, 3))  # entry by entry: stacking nine arrays takes four times as long
    m[..., 0, 0], m[..., 0, 1], m[..., 0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    m[..., 1, 0], m[..., 1, 1], m[..., 1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    m[..., 2, 0], m[..., 2, 1], m[..., 2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)
    return m


def matrix_to_quaternion(rotation: npt.ArrayLike) -> np.ndarray:
    """Quaternions [..., 4] (w x y z, w >= 0) of rotation matrices [..., 3, 3].

    The largest of the four squared components is solved first (Shepperd 1978), so it is stable for half turns.
    """
    m = np.asarray(rotation, dtype=np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate([trace[..., None], 2 * diagonal - trace[..., None]], axis=-1)  # 4 q_i^2 - 1
    d = [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]]
    s = [m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]]
    q4 = np.stack(  # row i holds 4 q_i q_j
        [
            np.stack([1 + squares[..., 0], d[0], d[1], d[2]], axis=-1),
            np.stack([d[0], 1 + squares[..., 1], s[0], s[1]], axis=-1),
            np.stack([d[1], s[0], 1 + squares[..., 2], s[2]], axis=-1),
            np.stack([d[2], s[1], s[2], 1 + squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(squares, axis=-1)
    q = np.take_along_axis(q4, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def quaternion_from_yaw(yaw: npt.ArrayLike) -> np.ndarray:
    """Quaternions [..., 4] of turns about z by ``yaw`` [...] radians."""
    half = np.asarray(yaw, dtype=np.float64) / 2
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1)


def yaw_of_matrix(matrix: npt.ArrayLike) -> np.ndarray:
    """Direction of the rotated x axis in the xy plane, radians; takes [..., 3, 3] or [..., 4, 4]."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.arctan2(m[..., 1, 0], m[..., 0, 0])


def yaw_of_quaternion(quaternion: npt.ArrayLike) -> np.ndarray:
    """Direction of the rotated x axis in the xy plane, radians, as the nuScenes devkit's ``quaternion_yaw``."""
    return yaw_of_matrix(quaternion_to_matrix(quaternion))


def from_translation_rotation(translation: npt.ArrayLike, quaternion: npt.ArrayLike) -> np.ndarray:
    """``a_from_b`` [..., 4, 4] from b's origin in a [..., 3] and b's rotation in a [..., 4] (w x y z)."""
    rotation = quaternion_to_matrix(quaternion)
    a_from_b = np.zeros((*rotation.shape[:-2], 4, 4))
    a_from_b[..., :3, :3] = rotation
    a_from_b[..., :3, 3] = np.asarray(translation, dtype=np.float64)
    a_from_b[..., 3, 3] = 1.0
    return a_from_b


def invert(a_from_b: np.ndarray) -> np.ndarray:
    """``b_from_a`` of rigid [..., 4, 4] matrices, by transposing the rotation."""
    rotation = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    b_from_a = np.zeros_like(a_from_b, dtype=np.float64)
    b_from_a[..., :3, :3] = rotation
    b_from_a[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, a_from_b[..., :3, 3])
    b_from_a[..., 3, 3] = 1.0
    return b_from_a


def transform_points(a_from_b: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [P, >=3] of frame b in frame a: [P, 3], in the points' own float type.

    Coordinates far from the origin (global frames) need float64 points: a float32 loses 8 mm at 100 km.
    """
    xyz = points[:, :3]
    dtype = xyz.dtype if xyz.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    return xyz @ a_from_b[:3, :3].T.astype(dtype) + a_from_b[:3, 3].astype(dtype)


def rotate_vectors(a_from_b: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Free vectors [N, 3] of frame b (velocities, normals) in frame a."""
    return vectors @ a_from_b[:3, :3].T


def interpolate_poses(
    times_ns: np.ndarray, query_ns: np.ndarray, translations: np.ndarray, quaternions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses at ``query_ns`` [Q] between poses at sorted ``times_ns`` [T]: linear positions, slerp rotations.

    Returns translations [Q, 3] and quaternions [Q, 4]. A query outside the times raises ``ValueError``: an
    extrapolated pose is a guess.
    """
    times_ns, query_ns = np.asarray(times_ns, dtype=np.int64), np.asarray(query_ns, dtype=np.int64)
    if query_ns.size == 0:
        return np.zeros((0, 3)), np.zeros((0, 4))
    if times_ns.size == 0 or query_ns.min() < times_ns[0] or query_ns.max() > times_ns[-1]:
        raise ValueError("interpolate_poses: a query time lies outside the pose times")
    after = np.clip(np.searchsorted(times_ns, query_ns, side="left"), 1 if len(times_ns) > 1 else 0, None)
    before = np.maximum(after - 1, 0)
    span = (times_ns[after] - times_ns[before]).astype(np.float64)
    share = np.where(span > 0, (query_ns - times_ns[before]) / np.where(span > 0, span, 1.0), 0.0)[:, None]
    translation = (1 - share) * translations[before] + share * translations[after]
    return translation, slerp(quaternions[before], quaternions[after], share[:, 0])


def slerp(q0: np.ndarray, q1: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical interpolation of quaternions [N, 4], ``share`` [N] of the way from q0 to q1, the short way round."""
    q0 = q0 / np.linalg.norm(q0, axis=-1, keepdims=True)
    q1 = q1 / np.linalg.norm(q1, axis=-1, keepdims=True)
    dot = np.sum(q0 * q1, axis=-1, keepdims=True)
    q1, dot = np.where(dot < 0, -q1, q1), np.abs(dot)
    angle = np.arccos(np.clip(dot, -1.0, 1.0))
    near = dot > 1 - 1e-10  # sin(angle) vanishes: the chord equals the arc to double precision
    sine = np.where(near, 1.0, np.sin(angle))
    t = np.asarray(share, dtype=np.float64)[:, None]
    w0 = np.where(near, 1 - t, np.sin((1 - t) * angle) / sine)
    w1 = np.where(near, t, np.sin(t * angle) / sine)
    q = w0 * q0 + w1 * q1
    return q / np.linalg.norm(q, axis=-1, keepdims=True)
