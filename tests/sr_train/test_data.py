"""Crops and batches: exact LR, pure functions of (seed, epoch, index), pairs, packs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_train.config import DataConfig
from sr_train.data import Batches, CropSource, batch_items, detail, open_pairs, open_pictures, split
from sr_train.degrade import Degradation, shrink
from sr_train.errors import DataError
from sr_train.pack import open_pack, write_pack
from sr_train.pictures import Skipped, Window, open_folder
from tests.sr_train.conftest import not_skipped, picture

PLAIN = DataConfig(crop=32, augment=False)


def _source(photos: Path, config: DataConfig = PLAIN) -> CropSource:
    return CropSource(open_folder([photos], 32, 1, not_skipped), None, config, 4, seed=3)


def test_lr_crop_is_exactly_a_part_of_the_whole_pictures_lr(photos: Path) -> None:
    source = _source(photos)
    for epoch in range(30):
        lr, hr = source.crop(epoch, 1)
        whole = picture(71, 66, 1)[:68, :64]
        places = [(y, x) for y in range(0, 37, 4) for x in range(0, 33, 4) if (whole[y:, x:][:32, :32] == hr).all()]
        y, x = places[0]
        assert (shrink(whole, 4)[y // 4 :, x // 4 :][:8, :8] == lr).all()


@pytest.mark.parametrize("degradation", Degradation)
def test_crop_is_a_pure_function_of_seed_epoch_and_index(photos: Path, degradation: Degradation) -> None:
    config = replace(PLAIN, augment=True, degradation=degradation)
    first, second = _source(photos, config), _source(photos, config)
    second.crop(0, 0)  # what was asked before is of no consequence
    for epoch, index in [(5, 2), (0, 3)]:
        assert all((a == b).all() for a, b in zip(first.crop(epoch, index), second.crop(epoch, index), strict=True))
    assert not (first.crop(0, 1)[1] == first.crop(1, 1)[1]).all()


def test_flips_and_turns_keep_lr_and_hr_together(photos: Path) -> None:
    source = _source(photos, replace(PLAIN, augment=True))
    for epoch in range(16):
        lr, hr = source.crop(epoch, 0)
        assert np.abs(shrink(np.ascontiguousarray(hr), 4)[2:-2, 2:-2].astype(int) - lr[2:-2, 2:-2]).max() <= 1


def _half_sky(folder: Path) -> CropSource:
    """One photo: flat above, lively below."""
    Image.fromarray(np.concatenate([np.full((320, 64, 3), 200, np.uint8), picture(64, 64, 0)])).save(folder / "0.png")
    return CropSource(open_folder([folder], 32, 1, not_skipped), None, PLAIN, 4, seed=3)


def test_crops_with_too_little_detail_are_drawn_anew(tmp_path: Path) -> None:
    source = _half_sky(tmp_path)
    least = detail(picture(64, 64, 0)) / 2
    found = {
        limit: [
            detail(replace(source, config=replace(PLAIN, least_detail=limit)).crop(epoch, 0)[1]) for epoch in range(40)
        ]
        for limit in (0.0, least)
    }
    flat = {limit: sum(value < least for value in values) for limit, values in found.items()}
    assert flat[0.0] > 25 and flat[least] < flat[0.0] / 2


def test_photo_without_detail_is_trained_on_all_the_same(tmp_path: Path) -> None:
    source = _half_sky(tmp_path)
    assert replace(source, config=replace(PLAIN, least_detail=1e6)).crop(0, 0)[1].shape == (32, 32, 3)


def test_detail_is_the_mean_step_between_neighbours() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert detail(pixels) == 0
    pixels[:, ::2, 1] = 10  # every step across is 10, every one down 0
    assert detail(pixels) == 5


def test_epoch_shows_every_picture_and_next_one_another_order() -> None:
    epochs = [[item for step in range(5) for item in batch_items(0, e * 5 + step, 4, 20)] for e in (0, 1)]
    assert [sorted(i for _, i in items) for items in epochs] == [list(range(20))] * 2
    assert [i for _, i in epochs[0]] != [i for _, i in epochs[1]]
    assert {e for e, _ in epochs[1]} == {1}


def test_last_batch_of_an_epoch_is_full() -> None:
    items = [item for step in range(3) for item in batch_items(0, step, 4, 10)]
    counts = Counter(i for _, i in items)
    assert len(items) == 12 and set(counts) == set(range(10)) and {e for e, _ in items} == {0}


def test_batches_are_those_of_their_steps_wherever_one_starts(photos: Path) -> None:
    source = _source(photos)
    with Batches(source, 4, (0, 4), 0, 6, threads=2) as batches:
        whole = list(batches)
    with Batches(source, 4, (0, 4), 4, 6, threads=1) as batches:
        rest = list(batches)
    assert len(whole) == 6
    assert all((a.hr == b.hr).all() and (a.lr == b.lr).all() for a, b in zip(whole[4:], rest, strict=True))


def test_two_processes_share_a_batch(photos: Path) -> None:
    source = _source(photos)
    parts = []
    for share in ((0, 4), (0, 2), (2, 4)):
        with Batches(source, 4, share, 0, 1, threads=1) as batches:
            parts.append(next(iter(batches)).hr.numpy())
    assert (np.concatenate(parts[1:]) == parts[0]).all()


def test_pack_gives_the_folders_crops(photos: Path, tmp_path: Path) -> None:
    write_pack([photos], tmp_path / "all.srpack", 1, 2, not_skipped)
    packed = replace(_source(photos), hr=open_pictures([tmp_path / "all.srpack"], 32, 1, not_skipped))
    for index in range(4):
        pairs = zip(_source(photos).crop(0, index), packed.crop(0, index), strict=True)
        assert all((a == b).all() for a, b in pairs)


def test_damaged_pack_is_an_error(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.srpack"
    write_pack([photos], path, 1, 1, not_skipped)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        open_pack(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="sr-train pack"):
        open_pack(path)


def test_small_pictures_of_a_pack_are_skipped(photos: Path, tmp_path: Path) -> None:
    write_pack([photos], tmp_path / "all.srpack", 1, 1, not_skipped)
    skipped: list[Skipped] = []
    assert list(open_pictures([tmp_path / "all.srpack"], 65, 1, skipped.append).names) == ["1", "below/deep"]
    assert [one.path.name for one in skipped] == ["0", "2"]


def _div2k(folder: Path) -> tuple[Path, Path]:
    hr, lr = folder / "HR", folder / "LR"
    hr.mkdir()
    lr.mkdir()
    for index in range(3):
        pixels = picture(64, 64, index)
        Image.fromarray(pixels).save(hr / f"000{index}.png")
        Image.fromarray(shrink(pixels, 4)).save(lr / f"000{index}x4.png")
    return hr, lr


def test_pairs_of_div2ks_layout(tmp_path: Path) -> None:
    hr, lr = (open_folder([f], 8, 1, not_skipped) for f in _div2k(tmp_path))
    pairs = open_pairs(hr, lr, 4, not_skipped)
    crop = CropSource(pairs[0], pairs[1], PLAIN, 4, 0).crop(0, 2)
    made = CropSource(pairs[0], None, PLAIN, 4, 0).crop(0, 2)
    assert all((a == b).all() for a, b in zip(crop, made, strict=True))


def test_pairs_that_do_not_fit_are_named_and_skipped(tmp_path: Path) -> None:
    folders = _div2k(tmp_path)
    (folders[1] / "0000x4.png").unlink()
    Image.fromarray(picture(15, 16, 0)).save(folders[1] / "0001x4.png")
    skipped: list[Skipped] = []
    hr, lr = (open_folder([f], 8, 1, not_skipped) for f in folders)
    assert list(open_pairs(hr, lr, 4, skipped.append)[0].names) == ["0002"]
    assert ["no LR picture" in one.reason or "15x16" in one.reason for one in skipped] == [True, True]


def test_no_pair_is_an_error(tmp_path: Path, photos: Path) -> None:
    hr, _ = _div2k(tmp_path)
    with pytest.raises(DataError, match="both folders"):
        open_pairs(open_folder([hr], 8, 1, not_skipped), open_folder([photos], 8, 1, not_skipped), 4, lambda _: None)


def test_held_out_photos_are_not_trained_on(photos: Path) -> None:
    trained, held = split(_source(photos), 5)
    assert len(held.hr.names) == 1 and not set(held.hr.names) & set(trained.hr.names)
    assert len(trained.hr.names) == 3
    assert held.hr.read(0, Window(0, 0, 4, 4)).shape == (4, 4, 3)
