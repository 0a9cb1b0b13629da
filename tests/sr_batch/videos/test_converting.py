"""Frames on their way to and from the engine: repeats, and memory that is used again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from sr_batch.tiles import plan_tiles
from sr_batch.upscale import TileOptions
from sr_batch.videos.converting import Upscaled, encoder_frames, rasters
from sr_batch.videos.encoding import EncoderPlan, EncodingOptions, Output, plan_encoding
from sr_batch.videos.flow import WAITING_BYTES, room_for, running_ahead
from sr_batch.videos.frames import Shown
from sr_batch.videos.inference import Network, upscale_frames
from sr_batch.videos.picture import ChromaSiting, Colour, Picture, Samples
from sr_batch.videos.planes import planes_of
from tests.sr_batch.stubs import enlarge, repeat_4x
from tests.sr_batch.videos.clips import frame_of, noise

GREY = Colour(1, False, 1, 1, ChromaSiting.LEFT)
PICTURE = Picture(16, 16, Samples.named("yuv420p"), GREY, None, 0, None, interlaced=False)


def plan() -> EncoderPlan:
    return plan_encoding(EncodingOptions(), PICTURE, Output("mp4", 64, 64, Fraction(1, 25), Fraction(25), "h264"))


def shown(number: int, seed: int) -> Shown:
    return Shown(number, number, 1, noise(16, 16, seed=seed))


def grey(number: int) -> Upscaled:
    return Upscaled(shown(number, 0), np.full((64, 64, 3), number, np.uint8), None)


@pytest.mark.parametrize("room", [1, 3])
def test_a_frame_is_not_written_over_while_it_waits_or_is_encoded(room: int) -> None:
    """Whoever takes them is slow: as many as may wait are always waiting."""
    frames = encoder_frames((grey(number) for number in range(24)), plan(), 4, room)
    memory = set()
    with running_ahead(frames, room, "frames") as ahead:
        for item, frame in ahead:
            pause_until_all_wait(room)
            luma = planes_of(frame)[0]
            assert (luma == round(16 + item.index * 219 / 255)).all()
            memory.add(frame.planes[0].buffer_ptr)
    assert len(memory) <= room + 2


def pause_until_all_wait(room: int) -> None:
    """Long enough for the maker to fill its queue: small frames take a millisecond."""
    time.sleep(0.01 * (room + 1))


def test_a_repeat_is_the_same_frame_again_also_when_others_have_come_between() -> None:
    items = [grey(1), Upscaled(shown(1, 0), None, None), grey(2), Upscaled(shown(3, 0), None, None)]
    values = [int(planes_of(frame)[0][0, 0]) for _, frame in encoder_frames(items, plan(), 4, 1)]
    assert values[0] == values[1] != values[2] == values[3]


def test_a_frame_is_a_repeat_only_if_every_byte_of_it_is_that_of_the_one_before() -> None:
    almost = noise(16, 16, seed=1)
    planes = [plane.copy() for plane in planes_of(almost)]
    planes[0][9, 9] ^= 64
    frames = [shown(0, 1), shown(1, 1), Shown(2, 2, 1, frame_of(planes, "yuv420p")), shown(3, 1), shown(4, 1)]
    assert [item.repeat for item in rasters(frames, PICTURE)] == [False, True, False, False, True]


def test_repeats_come_in_their_places_without_a_picture_of_their_own() -> None:
    pictures = {number: np.full((16, 16, 3), number, np.uint8) for number in range(4)}
    order = [(0, False), (0, True), (1, False), (2, False), (2, True), (2, True), (3, False)]
    frames = (((place, number), pictures[number], repeat) for place, (number, repeat) in enumerate(order))
    network = Network(repeat_4x, "stub")
    seen: list[int] = []
    for (place, number), large in upscale_frames(frames, network, plan_tiles(16, 16, 16, 0), TileOptions(4)):
        seen.append(place)
        assert (large is None) is order[place][1]
        if large is not None:
            assert np.array_equal(large, enlarge(pictures[number]))
    assert seen == list(range(len(order)))
    assert network.counts.tiles == 4


@pytest.mark.parametrize(("bytes_of_one", "room"), [(100, 8), (5 << 20, 6), (20 << 20, 1), (200 << 20, 1)])
def test_what_waits_between_two_stages_is_bounded_in_bytes(bytes_of_one: int, room: int) -> None:
    assert room_for(bytes_of_one) == room
    assert room == 1 or room * bytes_of_one <= WAITING_BYTES


def test_a_stage_runs_no_further_ahead_than_its_room() -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        for number in range(30):
            made += 1
            yield number

    with running_ahead(numbers(), 2, "numbers") as ahead:
        for taken, _ in enumerate(ahead, start=1):
            pause_until_all_wait(2)
            assert made <= taken + 2 + 1  # those that wait, and the one that has no room
