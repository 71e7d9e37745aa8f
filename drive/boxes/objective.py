"""The training objective of both detectors: heat, box, IoU and foreground losses, weighted and summed (spec 1.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from drive.boxes.assign import assign_centres
from drive.boxes.coder import decode_boxes, encode_boxes
from drive.boxes.decode import GroupOutput
from drive.boxes.losses import box_losses, focal_loss, heat_focal_loss, iou_branch_loss, quality_heat_loss
from drive.samples.batch import FrameBatch
from ops.rotated_iou import iou3d_loss, rotated_iou_3d_paired


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts. Segmentation and heat are divided by the number of objects or true voxels (at least 1),
    box parts by the heat of the voxels that regress.

    foreground, heat, box: 1, 1, 2 [inferred] for this normalisation (the paper's 200 and 10 are [recall] for another).
    heading, velocity, iou_loss, iou_branch: shares inside the box part [inferred].
    heat_form: "focal" is the paper's penalty-reduced focal loss; "quality" lets every voxel near a centre teach.
    poly_epsilon: Poly-1 on heat and foreground; 0 is the plain focal loss (spec 5).
    regress_above: heat from which a voxel regresses its box (0.2) [recall].
    """

    foreground: float = 1.0
    heat: float = 1.0
    box: float = 2.0
    heading: float = 0.5
    velocity: float = 0.1
    iou_loss: float = 0.5
    iou_branch: float = 0.5
    heat_form: Literal["focal", "quality"] = "focal"
    poly_epsilon: float = 0.0
    regress_above: float = 0.2


def group_losses(output: GroupOutput, batch: FrameBatch, config: LossConfig) -> dict[str, Tensor]:
    """Parts of one head's loss: heat, offset, size, heading, velocity, iou (weighted as in the total)."""
    mine = torch.isin(batch.labels, torch.tensor(output.labels, device=batch.labels.device)) & (batch.num_points > 0)
    boxes, box_batch, velocity_valid = batch.boxes[mine], batch.box_batch[mine], batch.velocity_valid[mine]
    column = torch.tensor(output.labels, device=boxes.device)
    labels = (batch.labels[mine][:, None] == column).long().argmax(1)
    scales = torch.tensor(output.group.heat_scale_m, device=boxes.device)
    targets = assign_centres(
        output.coords, output.grid, batch.batch_size, boxes, box_batch, labels, scales, config.regress_above
    )
    objects = targets.num_objects.clamp(min=1)
    logits = output.heat_logits.float()
    if config.heat_form == "quality":
        heat = quality_heat_loss(logits, targets.heat)
    else:
        heat = heat_focal_loss(logits, targets.heat, poly_epsilon=config.poly_epsilon)
    parts = {"heat": config.heat * heat / objects}

    regression = output.regression[targets.rows].float()
    centres = output.anchors[targets.rows]
    wanted = boxes[targets.boxes]
    code = encode_boxes(wanted, centres)
    # Voxels near the centre count more: they are the ones that decoding reads.
    weight = targets.heat[targets.rows].amax(1)
    share = config.box / weight.sum().clamp(min=1)
    sums = box_losses(regression, code, velocity_valid[targets.boxes], weight)
    parts["offset"], parts["size"] = share * sums["offset"], share * sums["size"]
    parts["heading"] = share * config.heading * sums["heading"]
    parts["velocity"] = share * config.velocity * sums["velocity"]
    predicted = decode_boxes(regression, centres, code.bin)
    if config.iou_loss > 0:
        parts["iou"] = share * config.iou_loss * (iou3d_loss(predicted, wanted) * weight).sum()
    if config.iou_branch > 0:
        with torch.no_grad():
            iou = rotated_iou_3d_paired(predicted, wanted)
        parts["iou_branch"] = share * config.iou_branch * iou_branch_loss(regression, iou, weight)
    return parts


def foreground_loss(logits: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Focal loss of the segmentation, each class divided by its own true voxels, so that a pedestrian's few count.

    The divisor is at least a hundredth of the voxels: where a class is absent, its background would otherwise weigh
    hundreds of times more than any other class's, and drown the step.
    """
    positives = target.sum(0).clamp(min=max(1.0, 0.01 * len(target)))
    total = logits.new_zeros(())
    for column in range(logits.shape[1]):
        part = focal_loss(logits[:, column].float(), target[:, column], poly_epsilon=config.poly_epsilon)
        total = total + part / positives[column]
    return config.foreground * total
