"""Overlap of rotated rectangles in plain torch, float64 inside: the specification.

Rectangle B is moved into the frame of rectangle A (so that a place 75 m away costs no digits) and clipped by A's four
sides one after the other (Sutherland and Hodgman 1974). Each corner of the clipped polygon carries the name of the side
that starts there, which gives the exact gradient: when a side moves outward by d, the area grows by d times its length.
Where the common area is zero, so is the gradient (also where boxes just touch, and some move would make it grow).
"""

import torch
from torch import Tensor

MAX_CORNERS = 8
LARGEST = 1e9  # metres or radians: a box with a larger number, or with none, overlaps nothing


def usable(boxes: Tensor, three_d: bool) -> Tensor:
    """Boxes [N, >=7] with finite numbers up to LARGEST and sizes above 0 (from above, or in all three): bool [N]."""
    seen = boxes[:, :7] if three_d else boxes[:, [0, 1, 3, 4, 6]]
    sizes = boxes[:, 3:6] if three_d else boxes[:, 3:5]
    return (seen.abs() <= LARGEST).all(1) & (sizes > 0).all(1)


def paired_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap of rectangle pairs a, b [N, 5] (x y length width yaw).

    Returns area [N] and its gradients in a and in b [N, 5]; dtype of a.
    """
    A, B = a.double(), b.double()
    near = (A[:, :2] - B[:, :2]).norm(dim=1) <= (A[:, 2:4].norm(dim=1) + B[:, 2:4].norm(dim=1)) / 2
    for box in (A, B):
        near &= (box.abs() <= LARGEST).all(1) & (box[:, 2:4] > 0).all(1)
    near = near.nonzero()[:, 0]
    area, grad_a, grad_b = A.new_zeros(A.shape[0]), torch.zeros_like(A), torch.zeros_like(A)
    area[near], grad_a[near], grad_b[near] = _clip_pairs(A[near], B[near])
    return area.to(a.dtype), grad_a.to(a.dtype), grad_b.to(a.dtype)


def _clip_pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    N = a.shape[0]
    cos_a, sin_a = a[:, 4].cos(), a[:, 4].sin()
    dx, dy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
    centre = torch.stack([cos_a * dx + sin_a * dy, cos_a * dy - sin_a * dx], 1)
    turn = b[:, 4] - a[:, 4]
    axis = torch.stack([turn.cos(), turn.sin()], 1)
    normal_axis = torch.stack([-axis[:, 1], axis[:, 0]], 1)
    half_l, half_w = b[:, 2:3] / 2, b[:, 3:4] / 2
    corners = torch.stack(
        [centre + sl * half_l * axis + sw * half_w * normal_axis for sl, sw in ((1, -1), (1, 1), (-1, 1), (-1, -1))], 1
    )
    # Sides 0..3 are B's front, left, back, right; 4..7 A's front, left, back, right.
    polygon = torch.zeros(N, MAX_CORNERS, 2, dtype=a.dtype, device=a.device)
    polygon[:, :4] = corners
    side = torch.arange(MAX_CORNERS, device=a.device).expand(N, -1).clone()
    count = torch.full((N,), 4, device=a.device)
    for plane in range(4):
        polygon, side, count = _clip(polygon, side, count, plane, a[:, 2 + plane % 2] / 2)
    following = _following(polygon, count)
    real = torch.arange(MAX_CORNERS, device=a.device) < count[:, None]
    cross = polygon[..., 0] * following[..., 1] - polygon[..., 1] * following[..., 0]
    area = (cross * real).sum(1).clamp(min=0) / 2
    length = (following - polygon).norm(dim=2) * real
    middle = (following + polygon) / 2
    grads = [
        _move_sides(length * (side >= 4), side - 4, middle, torch.zeros_like(centre), torch.zeros_like(turn)),
        _move_sides(length * (side < 4), side, middle, centre, turn),
    ]
    for grad in grads:  # from the frame of A to the world
        grad *= (area > 0)[:, None]
        x, y = grad[:, 0].clone(), grad[:, 1].clone()
        grad[:, 0], grad[:, 1] = cos_a * x - sin_a * y, sin_a * x + cos_a * y
    return area, grads[0], grads[1]


def _following(polygon: Tensor, count: Tensor) -> Tensor:
    """The next corner of every corner: [N, MAX_CORNERS, 2]."""
    step = torch.arange(1, MAX_CORNERS + 1, device=polygon.device)
    index = torch.where(step < count[:, None], step, 0)
    return polygon.gather(1, index[..., None].expand(-1, -1, 2))


def _clip(polygon: Tensor, side: Tensor, count: Tensor, plane: int, half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the part of each polygon within `half` of A's centre towards its front, left, back or right (plane 0..3)."""
    sign = 1.0 if plane < 2 else -1.0
    following = _following(polygon, count)
    here = half[:, None] - sign * polygon[..., plane % 2]
    there = half[:, None] - sign * following[..., plane % 2]
    real = torch.arange(MAX_CORNERS, device=polygon.device) < count[:, None]
    inside, inside_next = here >= 0, there >= 0
    crosses = real & (inside != inside_next)
    t = torch.where(crosses, here / torch.where(crosses, here - there, 1.0), 0.0)
    met = polygon + t[..., None] * (following - polygon)
    # Two candidates a corner: itself where inside, then where its side crosses the plane.
    points = torch.stack([polygon, met], 2).flatten(1, 2)
    # Leaving, the next side runs along the plane; entering, it is the rest of this side.
    sides = torch.stack([side, torch.where(inside, plane + 4, side)], 2).flatten(1)
    kept = torch.stack([real & inside, crosses], 2).flatten(1)
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)[:, :MAX_CORNERS]
    return points.gather(1, order[..., None].expand(-1, -1, 2)), sides.gather(1, order), kept.sum(1)


def _move_sides(length: Tensor, side: Tensor, middle: Tensor, centre: Tensor, yaw: Tensor) -> Tensor:
    """Gradient [N, 5] (x y length width yaw) of the area, from each side's length and middle in the frame of A."""
    angle = yaw[:, None] + (side % 4).to(yaw.dtype) * (torch.pi / 2)
    nx, ny = angle.cos(), angle.sin()
    from_centre = middle - centre[:, None]
    spin = from_centre[..., 0] * ny - from_centre[..., 1] * nx
    along = side % 2 == 0
    return torch.stack(
        [
            (length * nx).sum(1),
            (length * ny).sum(1),
            (length * along).sum(1) / 2,
            (length * ~along).sum(1) / 2,
            (length * spin).sum(1),
        ],
        1,
    )


def iou_matrix(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    """IoU of every box of a [N, >=7] with every box of b [M, >=7]: [N, M]; only neighbours are clipped."""
    A, B = a.double(), b.double()
    reach = (A[:, None, 3:5].norm(dim=2) + B[None, :, 3:5].norm(dim=2)) / 2
    near = ((A[:, None, :2] - B[None, :, :2]).norm(dim=2) <= reach).nonzero()
    out = A.new_zeros(A.shape[0], B.shape[0])
    near = near[usable(A, three_d)[near[:, 0]] & usable(B, three_d)[near[:, 1]]]
    out[near[:, 0], near[:, 1]] = iou_pairs(A[near[:, 0]], B[near[:, 1]], three_d)
    return out.to(a.dtype)


def iou_pairs(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    """IoU of box pairs [N, >=7] -> [N]."""
    A, B = a.double(), b.double()
    overlap = paired_overlap(A[:, [0, 1, 3, 4, 6]], B[:, [0, 1, 3, 4, 6]])[0]
    size_a, size_b = A[:, 3] * A[:, 4], B[:, 3] * B[:, 4]
    if three_d:
        top = torch.minimum(A[:, 2] + A[:, 5] / 2, B[:, 2] + B[:, 5] / 2)
        bottom = torch.maximum(A[:, 2] - A[:, 5] / 2, B[:, 2] - B[:, 5] / 2)
        overlap = overlap * (top - bottom).clamp(min=0)
        size_a, size_b = size_a * A[:, 5], size_b * B[:, 5]
    union = size_a + size_b - overlap
    return torch.where(union > 0, overlap / torch.where(union > 0, union, 1.0), 0.0).to(a.dtype)


def convex_giou(a: Tensor, b: Tensor) -> Tensor:
    """IoU - (hull - union) / hull of box pairs [N, >=7] -> [N]; see ops.rotated_iou.convex_giou_3d_paired."""
    A, B = a.double(), b.double()
    iou = iou_pairs(A, B, True)
    points = torch.cat([_corners(A), _corners(B)], 1)
    area = A.new_zeros(A.shape[0])
    # A directed pair of corners is a side of the hull where no corner lies to its right, nor beyond its ends.
    for i in range(8):
        for j in range(8):
            along, offset = points[:, j] - points[:, i], points - points[:, i, None]
            turn = along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]
            share = (along[:, None] * offset).sum(2)
            reach = (along * along).sum(1)[:, None]
            small = 1e-12 * reach.clamp(min=1e-12)
            is_side = ((turn > small) | ((turn.abs() <= small) & (share >= 0) & (share <= reach))).all(1)
            # Of corners at one place the lowest index counts.
            twin = ((points[:, :i] - points[:, i, None]).norm(dim=2) < 1e-9).any(1) if i else torch.zeros_like(is_side)
            end = ((points[:, :j] - points[:, j, None]).norm(dim=2) < 1e-9).any(1) if j else torch.zeros_like(is_side)
            base = points[:, i] - A[:, :2], points[:, j] - A[:, :2]
            cross = base[0][:, 0] * base[1][:, 1] - base[0][:, 1] * base[1][:, 0]
            area += torch.where(is_side & ~twin & ~end & (reach[:, 0] > 1e-18), cross / 2, 0.0)
    top = torch.maximum(A[:, 2] + A[:, 5] / 2, B[:, 2] + B[:, 5] / 2)
    bottom = torch.minimum(A[:, 2] - A[:, 5] / 2, B[:, 2] - B[:, 5] / 2)
    whole = area * (top - bottom)
    both = A[:, 3:6].prod(1) + B[:, 3:6].prod(1)
    union = both - iou * both / (1 + iou)
    good = usable(A, True) & usable(B, True)
    return torch.where(good, iou - (whole - union) / torch.where(good, whole, 1.0), -1.0).to(a.dtype)


def _corners(boxes: Tensor) -> Tensor:
    """[N, 4, 2], counter-clockwise."""
    axis = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin()], 1)
    left = torch.stack([-axis[:, 1], axis[:, 0]], 1)
    ahead, aside = axis * boxes[:, 3:4] / 2, left * boxes[:, 4:5] / 2
    signs = ((1, -1), (1, 1), (-1, 1), (-1, -1))
    return torch.stack([boxes[:, :2] + u * ahead + v * aside for u, v in signs], 1)
