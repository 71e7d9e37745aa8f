"""Images of a sample: pixels lie where the intrinsics say, points where recorded, and nothing stops a frame."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from camera_log import CAMERAS, MARKS, encoded, marked, see, spot, write_camera_log
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drive.errors import UserError
from drive.samples.augment.bank import ObjectBank
from drive.samples.augment.config import AugmentConfig, PasteConfig
from drive.samples.batch import FrameBatch, collate
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset
from drive.samples.image_decode import Cut, choose_cut, decode
from drive.samples.image_read import read_images
from drive.samples.images import ImageConfig, collate_images
from drive.samples.sample import FrameSample, add_points, empty_sample
from drive.train.watch import check_losses, load_saved_batch
from ops.camera_sample import project_points

SMALL = ImageConfig(size=(120, 240))
VARIED = ImageConfig(size=(120, 240), resize=(0.9, 1.1), crop_jitter=0.03, flip=0.5, rotate_deg=5.0)


@pytest.fixture(scope="module")
def camera_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camera_log(tmp_path_factory.mktemp("camera-logs"))


def frames(log: Path, images: ImageConfig | None = SMALL, augment: AugmentConfig | None = None) -> FrameDataset:
    return FrameDataset([log], NUSCENES_CLASSES, images=images, augment=augment, ego_radius_m=0.0)


@settings(max_examples=15, deadline=None)
@given(
    scale=st.floats(0.2, 1.6),
    middle=st.integers(0, 3),
    right=st.floats(-40, 40),
    down=st.floats(-40, 40),
    flip=st.booleans(),
    turn=st.floats(-0.3, 0.3),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
def test_every_marked_pixel_lands_where_the_matrix_says(
    scale: float, middle: int, right: float, down: float, flip: bool, turn: float, kind: str
) -> None:
    marks = np.array([[120.0, 100.0], [300.3, 110.7], [460.5, 380.2], [180.2, 390.9]])
    data = encoded(marked((601, 523), marks, sigma=2.5 / min(scale, 1.0)), kind)
    size = (190, 280)
    cut = Cut(scale, 140 - scale * marks[middle, 0] + right, 95 - scale * marks[middle, 1] + down, flip, turn)
    image, matrix = decode(data, cut, size), cut.matrix(size)
    expected = marks @ matrix[:2, :2].T + matrix[:2, 2]
    # Nor may the picture's own edge, black in the image, lie in what a spot is measured from.
    for mark in expected[((expected > 16) & (expected < [263, 173])).all(axis=1)]:
        if spot_is_whole(image, mark):
            assert np.abs(spot(image, mark) - mark).max() < 0.05


def spot_is_whole(image: np.ndarray, mark: np.ndarray) -> bool:
    u, v = np.round(mark).astype(int)
    return bool((image[v - 13 : v + 14, u - 13 : u + 14] > 5).all())


def test_big_jpegs_decode_small_and_stay_in_place() -> None:
    marks = np.array([[400.0, 500.0], [1203.0, 777.0], [801.5, 301.25]])
    data = encoded(marked((1601, 901), marks, sigma=12.0), "JPEG")
    for width in (704, 352, 200):
        config = ImageConfig(size=(width // 2, width))
        cut = choose_cut((1601, 901), config)
        image, matrix = decode(data, cut, config.size), cut.matrix(config.size)
        for mark in marks @ matrix[:2, :2].T + matrix[:2, 2]:
            assert np.abs(spot(image, mark, 40 * width // 1601 + 4) - mark).max() < 0.2


def test_the_rule_without_augmentation() -> None:
    wide = choose_cut((1600, 900), ImageConfig(size=(256, 704)))
    assert wide.scale == pytest.approx(0.44)
    assert wide.left == 0
    assert wide.top == pytest.approx(256 - 396)  # the sky is cut
    picture = np.full((10, 40, 3), 200, np.uint8)
    image = decode(encoded(picture), choose_cut((40, 10), ImageConfig(size=(16, 40))), (16, 40))
    assert (image[:6] == 0).all()  # what is short is black at the top
    assert (image[6:] == 200).all()


def test_one_to_one_is_the_recorded_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    data = encoded(picture)
    image = decode(data, choose_cut((50, 30), ImageConfig(size=(30, 50))), (30, 50))
    assert np.array_equal(image, picture)
    # Whole pixels aside: the same as what is resampled, wherever the picture lies.
    for left, top in ((0, -10), (7, 4), (-20, 11), (60, 0), (0, -31), (-50, 0), (3, 30)):
        shifted = decode(data, Cut(1.0, left, top), (25, 40))
        assert np.array_equal(shifted, decode(data, Cut(1.0 + 1e-7, left, top), (25, 40)))
        mirrored = decode(data, Cut(1.0, left, top, flip=True), (25, 40))
        assert np.array_equal(shifted, mirrored[:, ::-1])
        assert (shifted == 0).all() == (left in (60, -50) or top in (-31, 30))


@pytest.mark.parametrize("config", [SMALL, VARIED])
def test_points_project_onto_their_marks_with_ego_motion_and_lens(camera_log: Path, config: ImageConfig) -> None:
    dataset = frames(camera_log, config, AugmentConfig() if config is VARIED else None)
    found = 0
    for epoch in range(1 if config is SMALL else 6):
        sample = dataset.item(0, epoch)
        assert sample.images is not None
        assert sample.images.names == ("FRONT", "LEFT")
        assert sample.images.present.all()
        batch = collate([sample])
        assert batch.recorded_xyz is not None
        assert batch.images is not None
        pairs = project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch)
        pixels = pairs.place.numpy() * [240, 120] - 0.5
        for camera, pixel in zip(pairs.camera.tolist(), pixels, strict=True):
            image = sample.images.pixels[camera]
            u, v = np.round(pixel).astype(int)
            if 8 < u < 231 and 8 < v < 111:
                assert np.abs(spot(image, pixel, 6) - pixel).max() < 0.5
                found += 1
    assert found >= (6 if config is SMALL else 20)


def test_the_recorded_pixels_by_hand(camera_log: Path) -> None:
    images = frames(camera_log).item(0).images
    assert images is not None
    for n, camera in enumerate(images.names):
        matrix = np.linalg.inv(images.pixels_from_recorded[n])
        ego = np.c_[MARKS[camera], np.ones(len(MARKS[camera]))] @ images.camera_from_ego[n].T
        x, y = ego[:, 0] / ego[:, 2], ego[:, 1] / ego[:, 2]
        k1, k2, p1, p2, k3 = images.distortion[n]
        r2 = x * x + y * y
        bent = np.stack(
            [
                x * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
                np.ones(len(x)),
            ]
        )
        recorded = (matrix @ images.intrinsics[n] @ bent)[:2].T
        assert np.allclose(recorded, see(camera, CAMERAS[camera][4]), atol=1e-6)
        # Without the two ego poses the marks would be some pixels off: the test could fail.
        assert np.abs(recorded - see(camera, 0.0)).max() > 1


def test_augmentation_and_images_draw_apart(camera_log: Path) -> None:
    """Geometry is the same with and without images; an item is the same whenever it is made."""
    with_images, without = frames(camera_log, VARIED, AugmentConfig()), frames(camera_log, None, AugmentConfig())
    for epoch in range(3):
        a, b, again = with_images.item(0, epoch), without.item(0, epoch), with_images.item(0, epoch)
        assert np.array_equal(a.points, b.points)
        assert b.images is None
        assert b.recorded_xyz is None
        assert a.images is not None
        assert again.images is not None
        assert np.array_equal(a.images.pixels, again.images.pixels)
        assert np.array_equal(a.images.intrinsics, again.images.intrinsics)
    first, second = with_images.item(0, 0).images, with_images.item(0, 1).images
    assert first is not None
    assert second is not None
    assert not np.allclose(first.intrinsics, second.intrinsics)


def test_dropped_cameras_do_not_move_the_others(camera_log: Path) -> None:
    plain = frames(camera_log, VARIED, AugmentConfig())
    dropping = frames(camera_log, replace(VARIED, drop_camera=0.5), AugmentConfig())
    dropped = 0
    for epoch in range(20):
        a, b = plain.item(0, epoch).images, dropping.item(0, epoch).images
        assert a is not None
        assert b is not None
        assert (b.pixels[~b.present] == 0).all()
        assert np.array_equal(a.pixels[b.present], b.pixels[b.present])
        assert len(b.missing) == (~b.present).sum()
        dropped += int((~b.present).sum())
    assert 10 <= dropped <= 30


def truncated(camera: str, data: bytes) -> bytes:
    return data[: len(data) // 2] if camera == "FRONT" else data


def truncated_jpeg(camera: str, data: bytes) -> bytes:
    picture = np.asarray(Image.open(io.BytesIO(data)))
    jpeg = encoded(picture, "JPEG")
    return jpeg[: len(jpeg) * 2 // 3] if camera == "FRONT" else data


def black(camera: str, data: bytes) -> bytes:
    return encoded(np.full((300, 480, 3), 3, np.uint8)) if camera == "FRONT" else data


def other_size(camera: str, data: bytes) -> bytes:
    return encoded(np.full((30, 48, 3), 99, np.uint8)) if camera == "FRONT" else data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda camera, data: None if camera == "FRONT" else data, "the frame has no image of it"),
        (truncated, "not readable"),
        (truncated_jpeg, "not readable"),
        (lambda camera, data: b"" if camera == "FRONT" else data, "not readable"),
        (lambda camera, data: b"no picture at all" if camera == "FRONT" else data, "not readable"),
        (black, "the image is black"),
        (other_size, "the picture is 48 x 30, its calibration 480 x 300"),
    ],
)
def test_a_bad_image_is_missing_and_the_frame_comes(tmp_path: Path, change: object, why: str) -> None:
    sample = frames(write_camera_log(tmp_path, change=change)).item(0)  # type: ignore[arg-type]
    whole = frames(write_camera_log(tmp_path, "whole")).item(0)
    images = sample.images
    assert images is not None
    assert images.present.tolist() == [False, True]
    assert (images.pixels[0] == 0).all()
    assert len(images.missing) == 1
    assert images.missing[0].startswith("FRONT: ")
    assert why in images.missing[0]
    assert np.array_equal(sample.points, whole.points)
    assert np.array_equal(sample.boxes, whole.boxes)
    batch = collate([sample])
    assert batch.images is not None
    assert batch.images.missing == [images.missing]
    assert batch.recorded_xyz is not None
    pairs = project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch)
    assert set(pairs.camera.tolist()) == {1}  # a missing camera sees nothing
    assert bool(torch.isfinite(torch.linalg.inv(batch.images.cameras.table[:, :12].reshape(-1, 3, 4)[..., :3])).all())


def test_a_calibration_that_does_not_invert(tmp_path: Path) -> None:
    images = frames(write_camera_log(tmp_path, scale_front_intrinsics=0.0)).item(0).images
    assert images is not None
    assert images.missing == ("FRONT: its calibration does not invert",)
    assert images.present.tolist() == [False, True]


def test_a_camera_that_the_log_lacks(camera_log: Path) -> None:
    config = replace(SMALL, cameras=("LEFT", "REAR"))
    images = frames(camera_log, config).item(0).images
    assert images is not None
    assert images.names == ("LEFT", "REAR")
    assert images.missing == ("REAR: the log has no such camera",)
    with pytest.raises(UserError, match="no training log has the camera REAR"):
        frames(camera_log, config, AugmentConfig())


def test_settings_that_make_no_image_are_refused(camera_log: Path) -> None:
    with pytest.raises(UserError, match=r"images\.size"):
        frames(camera_log, ImageConfig(size=(0, 10)))
    with pytest.raises(UserError, match=r"images\.resize"):
        frames(camera_log, ImageConfig(resize=(1.0, 0.5)))


def test_a_camera_that_sees_nothing(camera_log: Path) -> None:
    sample = frames(camera_log).item(0)
    behind = replace(sample, points=sample.points[-1:], recorded_xyz=sample.recorded_xyz[-1:])  # type: ignore[index]
    batch = collate([behind])
    assert batch.images is not None
    assert batch.recorded_xyz is not None
    pairs = project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch)
    assert len(pairs.point) == 0
    assert pairs.offsets.tolist() == [0, 0]


def test_lidar_only_data_read_no_image(camera_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("drive.samples.frame_dataset.read_images", refuse)
    dataset = FrameDataset.of(DataConfig(), [camera_log])
    assert dataset.item(0).images is None
    with pytest.raises(AssertionError):
        FrameDataset.of(DataConfig(images=SMALL), [camera_log]).item(0)


def test_the_object_bank_reads_no_image(camera_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drive.samples.frame_dataset.read_images", lambda *_: pytest.fail("an image was read"))
    dataset = frames(camera_log, SMALL, AugmentConfig(paste=PasteConfig(probability=1.0, min_points=1)))
    assert len(dataset.build_bank(tmp_path / "bank.arrow")) == 1


def test_carried_places_are_the_inverse_chain_and_pasted_points_are_nowhere(camera_log: Path, tmp_path: Path) -> None:
    """Through paste, every geometric augmentation and the range cut (specification: within 1 mm)."""
    other = frames(camera_log).recorded(0)[0]
    moved = replace(other, boxes=other.boxes + np.float32([0, 14, 0, 0, 0, 0, 0, 0, 0]))
    moved = replace(moved, points=other.points + np.float32([0, 14, 0, 0, 0, 0]))
    bank = ObjectBank.build([moved], tmp_path / "b.arrow", NUSCENES_CLASSES.names, min_points=1, max_per_class=9)
    paste = PasteConfig(probability=1.0, fill_up_to=(("car", 3),), min_points=1)
    dataset = FrameDataset(
        [camera_log],
        NUSCENES_CLASSES,
        images=SMALL,
        augment=AugmentConfig(paste=paste, translate_std_m=(0.5, 0.5, 0.2)),
        range_m=(-22, -22, -2, 22, 22, 4),  # cuts some
        ego_radius_m=0.0,
    )
    dataset.bank = bank
    recorded = frames(camera_log).item(0).points[:, :3]
    cut, pasted = 0, 0
    for epoch in range(8):
        sample = dataset.item(0, epoch)
        assert sample.recorded_xyz is not None
        assert sample.recorded_xyz.shape == (len(sample.points), 3)
        unseen = np.isnan(sample.recorded_xyz).any(axis=1)
        batch = collate([empty_sample(), sample])
        undo = batch.recorded_from_augmented[1].numpy()
        back = sample.points[:, :3].astype(np.float64) @ undo[:3, :3].T + undo[:3, 3]
        assert np.abs(back[~unseen] - sample.recorded_xyz[~unseen]).max() < 1e-3
        # Each is one of the recorded places, bit by bit: nothing was computed.
        assert all((recorded == place).all(axis=1).any() for place in sample.recorded_xyz[~unseen])
        cut += len(recorded) - int((~unseen).sum())
        pasted += int(unseen.sum())
        pairs = project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch)  # type: ignore[arg-type,union-attr]
        assert not pairs.seen.numpy()[unseen].any()
    assert cut > 0
    assert pasted > 0


def test_batches(camera_log: Path) -> None:
    sample = frames(camera_log).item(0)
    one = frames(camera_log, replace(SMALL, cameras=("LEFT",))).item(0)
    batch = collate([sample, empty_sample(), one])
    assert batch.images is not None
    assert batch.images.cameras.offsets.tolist() == [0, 2, 2, 3]
    assert batch.images.names == [("FRONT", "LEFT"), (), ("LEFT",)]
    assert batch.images.pixels.shape == (3, 3, 120, 240)
    assert batch.images.pixels.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images.pixels[1], batch.images.pixels[2])
    again = FrameBatch.of_tensors(batch.tensors(), batch.frame_ids)
    moved = batch.to("cpu")
    for name, tensor in batch.tensors().items():
        assert torch.equal(tensor.nan_to_num(-1), again.tensors()[name].nan_to_num(-1))
        assert torch.equal(tensor.nan_to_num(-1), moved.tensors()[name].nan_to_num(-1))
    assert moved.images is not None
    assert moved.images.names == batch.images.names
    assert collate([]).images is None
    assert collate([empty_sample()]).images is None
    assert collate_images([]).pixels.shape == (0, 3, 1, 1)
    other = frames(camera_log, ImageConfig(size=(60, 240))).item(0)
    with pytest.raises(UserError, match="images of sizes"):
        collate([sample, other])


def test_a_batch_that_was_kept_for_inspection(camera_log: Path, tmp_path: Path) -> None:
    """A training that meets a NaN keeps its batch, images and places without a value included."""
    sample = frames(camera_log).item(0)
    pasted = add_points(sample, np.ones((2, 6), np.float32))
    batch = collate([sample, pasted])
    bad = {"loss": torch.tensor(float("nan"))}
    with pytest.raises(UserError, match=r"weights and input are finite.*the batch is saved"):  # NaN places are meant
        check_losses(bad, torch.nn.Linear(1, 1), batch, tmp_path, step=3)
    (path,) = (tmp_path / "nonfinite").iterdir()
    again = load_saved_batch(path)
    assert again.images is not None
    assert again.images.pixels.is_contiguous(memory_format=torch.channels_last)
    for name, tensor in batch.tensors().items():
        assert torch.equal(tensor.nan_to_num(-1), again.tensors()[name].nan_to_num(-1))


def test_validate_refuses_what_is_wrong(camera_log: Path) -> None:
    sample = frames(camera_log).item(0)
    images = sample.images
    assert images is not None
    bad: list[FrameSample] = [
        replace(sample, recorded_xyz=np.zeros((1, 3), np.float32)),
        replace(sample, images=replace(images, present=np.ones(3, np.bool_))),
        replace(sample, images=replace(images, intrinsics=images.intrinsics * np.nan)),
        replace(sample, images=replace(images, pixels=images.pixels.astype(np.float32))),
    ]
    for wrong in bad:
        with pytest.raises(UserError):
            wrong.validate()


def test_a_frame_without_any_camera(log_path: Path) -> None:
    sample = FrameDataset([log_path], NUSCENES_CLASSES, images=SMALL).item(0)
    assert sample.images is not None
    assert sample.images.names == ()
    batch = collate([sample])
    assert batch.images is not None
    assert batch.images.pixels.shape[0] == 0
    assert batch.images.cameras.offsets.tolist() == [0, 0]
    assert batch.recorded_xyz is not None
    assert len(project_points(batch.recorded_xyz, batch.images.cameras, batch.point_batch).point) == 0
    log = FrameDataset([log_path], NUSCENES_CLASSES).logs[0]
    assert read_images(log, log.frame(0), replace(SMALL, cameras=("A",))).missing == ("A: the log has no such camera",)
