"""Profiles: what is written can be opened, adds up, and says what set the pace."""

from __future__ import annotations

import errno
import io
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
from PIL import Image

from sr_batch import encoders, pipeline, trace
from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.photos import PhotoFormat
from sr_batch.pipeline import Settings, run_batch
from sr_batch.trace import Recording, Stage, open_trace
from sr_batch.upscale import Stream
from sr_batch.verdict import Shares, verdict
from sr_batch.videos.inference import Network
from sr_batch.videos.upscaling import VideoSettings, upscale_video
from sr_export.engines import EngineName, Precision, open_engine
from sr_export.model import Prepared
from tests.conftest import random_pixels
from tests.sr_batch.conftest import Command
from tests.sr_batch.stubs import Pixels, enlarge
from tests.sr_batch.test_pipeline import Recorder
from tests.sr_batch.videos.films import FAST, Film, write_film

Event = dict[str, Any]
SETTINGS = Settings(scale=4, tile=64, halo=4)


def _watched(recording: Recording, seconds: float = 0.0) -> Stream:
    """The exact stand-in, which tells when it computes, as engines do."""

    def stream(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            begun = time.perf_counter()
            time.sleep(seconds)
            result = enlarge(batch)
            recording.watch("compute", begun, time.perf_counter())
            yield result

    return stream


def _record(recording: Recording) -> None:
    with recording.span(Stage.DECODE):
        pass


def _jobs(folder: Path, count: int, side: int = 60) -> list[PhotoJob]:
    jobs = []
    for index in range(count):
        source = folder / f"{index}.png"
        Image.fromarray(random_pixels(side, side, index)).save(source)
        jobs.append(PhotoJob(source, folder / "out" / f"{index}.png", PhotoFormat.PNG))
    return jobs


def _events(path: Path) -> list[Event]:
    return [event for event in json.loads(path.read_text()) if event["ph"] == "X"]


def _tracks(events: list[Event]) -> dict[int, list[Event]]:
    tracks = defaultdict(list)
    for event in events:
        tracks[event["tid"]].append(event)
    return tracks


def _check_nesting(events: list[Event]) -> None:
    """On one track, two slices lie apart or one inside the other (to the tenth of a microsecond that is written)."""
    for track in _tracks(events).values():
        ends: list[float] = []
        for event in sorted(track, key=lambda event: (event["ts"], -event["dur"])):
            while ends and ends[-1] <= event["ts"] + 0.2:
                ends.pop()
            end = event["ts"] + event["dur"]
            assert not ends or end <= ends[-1] + 0.2, event
            ends.append(end)


def test_every_photo_has_its_stages_and_the_slices_nest_and_add_up(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 6, side=100)
    with open_trace(tmp_path / "profile.json") as recording:
        begun = time.perf_counter()
        run_batch(jobs, _watched(recording), SETTINGS, Recorder(), Summary(), trace=recording)
        wall = time.perf_counter() - begun
        shares = recording.shares()
    events = _events(tmp_path / "profile.json")
    for job in jobs:
        mine = {event["name"] for event in events if event.get("args", {}).get("file") == job.source.name}
        assert {"decode", "stitch", "encode"} <= mine
    assert {"cut", "compute", "wait for the engine"} <= {event["name"] for event in events}
    _check_nesting(events)
    computed = [event["dur"] / 1e6 for event in events if event["name"] == "compute"]
    assert len(computed) == 6 * 4 and 0 < sum(computed) <= wall
    parts = (shares.waiting_for_engine, shares.waiting_for_input, shares.waiting_for_room, shares.working)
    assert 0 < sum(parts) <= 1 and 0 < shares.engine <= 1


def test_the_file_says_which_thread_is_which(tmp_path: Path) -> None:
    with open_trace(tmp_path / "profile.json") as recording:
        run_batch(_jobs(tmp_path, 2), _watched(recording), SETTINGS, Recorder(), Summary(), trace=recording)
    written = json.loads((tmp_path / "profile.json").read_text())
    names = {event["tid"]: event["args"]["name"] for event in written if event["name"] == "thread_name"}
    assert {"feeding the engine", "engine 1, compute", "decode_0"} <= set(names.values())
    assert {event["tid"] for event in written if event["ph"] == "X"} <= set(names)
    assert [event["args"]["name"] for event in written if event["name"] == "process_name"] == ["sr-batch"]


def test_threads_that_follow_each_other_have_tracks_by_their_names(tmp_path: Path) -> None:
    """A system gives a new thread the number of one that has ended."""
    with open_trace(tmp_path / "profile.json") as recording:
        for name in ("decode", "encode", "decode", "encode"):
            thread = threading.Thread(target=_record, args=(recording,), name=name)
            thread.start()
            thread.join()
    written = json.loads((tmp_path / "profile.json").read_text())
    names = {event["tid"]: event["args"]["name"] for event in written if event["name"] == "thread_name"}
    shown = [names[event["tid"]] for event in written if event["ph"] == "X"]
    assert shown == ["decode", "encode", "decode", "encode"]


def test_what_an_interrupted_run_leaves_opens_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "FLUSH_SECONDS", 0.0)
    path = tmp_path / "profile.json"
    with pytest.raises(KeyboardInterrupt), open_trace(path) as recording:
        with recording.span(Stage.DECODE, "a.png"):
            pass
        killed = path.read_text()  # as a kill would leave it
        raise KeyboardInterrupt
    assert [event["name"] for event in json.loads(killed + "]")] == [
        "process_name", "thread_name", "decode"
    ]  # fmt: skip
    assert len(_events(path)) == 1  # Ctrl-C: with its end


def test_memory_does_not_grow_with_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "FLUSH_SECONDS", 0.001)
    most = 0
    with open_trace(tmp_path / "profile.json") as recording:
        for _ in range(20_000):
            with recording.span(Stage.DECODE):
                pass
            most = max(most, len(recording._waiting))
    assert len(_events(tmp_path / "profile.json")) == 20_000
    assert most < 5000


def _slow(seconds: float, function: Any) -> Any:
    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments, **options)

    return slowly


def test_a_slow_engine_sets_the_pace(tmp_path: Path) -> None:
    with open_trace(tmp_path / "profile.json") as recording:
        stream = _watched(recording, seconds=0.15)
        run_batch(_jobs(tmp_path, 6), stream, SETTINGS, Recorder(), Summary(), trace=recording)
        assert recording.verdict().startswith("the engine set the pace: it was busy ")
        assert recording.shares().engine > 0.3


def test_slow_decoding_sets_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_check_and_decode", _slow(0.15, pipeline._check_and_decode))
    with open_trace(tmp_path / "profile.json") as recording:
        run_batch(_jobs(tmp_path, 6), _watched(recording), SETTINGS, Recorder(), Summary(), trace=recording)
        assert recording.verdict().startswith("decoding set the pace: ")
        assert recording.shares().waiting_for_input > 0.3


def test_slow_encoding_sets_the_pace_also_while_an_engine_computes_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders.Encoding, "_take", _slow(0.15, encoders.Encoding._take))
    with open_trace(tmp_path / "profile.json") as recording:
        stream, settings = _watched(recording), Settings(4, 64, 4, save=1)
        run_batch(_jobs(tmp_path, 6), stream, settings, Recorder(), Summary(), trace=recording)
        assert recording.verdict().startswith("encoding set the pace: ")
        assert recording.shares().waiting_for_room > 0.3


def test_the_sentence_gives_the_shares() -> None:
    assert verdict(Shares(0.94, 0.93, 0.01, 0.0, 0.03)) == (
        "the engine set the pace: it was busy 94 % of the time "
        "(waiting for decoding 1 %, waiting for encoding 0 %, cutting and stitching 3 %)"
    )
    assert verdict(Shares(0.31, 0.1, 0.02, 0.62, 0.1)) == (
        "encoding set the pace: 62 % of the time was waiting for encoding; the engine was busy 31 % of the time "
        "(waiting for decoding 2 %, cutting and stitching 10 %)"
    )


def test_an_engine_that_holds_several_requests_is_not_counted_twice() -> None:
    """Each of them waits for the one before; the track shows when it was computed."""
    recording = Recording(io.StringIO())
    began = recording._began
    for begun, ended in ((0.0, 1.0), (0.1, 2.0), (1.1, 3.0), (2.9, 2.95)):
        recording.watch("compute", began + begun, began + ended)
    recording.watch("compute", began, began + 2.0, 1)  # another engine
    assert recording._computed == {0: pytest.approx(3.0), 1: pytest.approx(2.0)}


def test_a_full_disk_ends_the_profile_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(_path: Path, *_: Any, **__: Any) -> TextIO:
        return Full()

    jobs, summary = _jobs(tmp_path, 2), Summary()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        context = open_trace(tmp_path / "profile.json")
        recording = context.__enter__()
    run_batch(jobs, _watched(recording), SETTINGS, Recorder(), summary, trace=recording)
    context.__exit__(None, None, None)
    assert (summary.done, recording.problem) == (2, "No space left on device")


@pytest.mark.parametrize("name", [EngineName.OPENVINO, EngineName.ONNX, EngineName.TORCH])
def test_every_engine_tells_when_it_computed(name: EngineName, tiny: Prepared) -> None:
    batches = [random_pixels(40, 40, seed)[None] for seed in range(6)]
    recording = Recording(io.StringIO())
    with open_engine(tiny, name, Precision.FP32, "cpu") as engine:
        begun = time.perf_counter()
        watched = [result.copy() for result in engine.stream(batches, recording.watch)]
        wall = time.perf_counter() - begun
        for one, other in zip(watched, engine.stream(batches), strict=True):
            assert np.array_equal(one, other)
    assert 0 < recording._computed[0] <= wall + 0.01  # OpenVINO gives its own clock in milliseconds


def test_a_videos_frames_are_in_the_profile_from_decoding_to_encoding(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mkv", Film(range(0, 6 * 512, 512), size=(24, 64)))
    with open_trace(tmp_path / "profile.json") as recording:
        network = Network(_watched(recording), "model", trace=recording)
        settings = VideoSettings(4, tile=40, halo=4, encoding=FAST)
        upscale_video(tmp_path / "film.mkv", tmp_path / "large.mkv", network, settings, "content")
        assert "set the pace" in recording.verdict()
    events = _events(tmp_path / "profile.json")
    _check_nesting(events)
    assert {"decode", "convert", "cut", "compute", "stitch"} <= {event["name"] for event in events}
    encoded = {event["args"]["file"] for event in events if event["name"] == "encode"}
    assert encoded == {f"frame {number}" for number in range(1, 7)}


def test_the_command_writes_a_profile_and_says_what_set_the_pace(sr_batch: Command, tmp_path: Path) -> None:
    _jobs(tmp_path, 3)
    profile = tmp_path / "profile.json"
    code, _, err = sr_batch(*(tmp_path / f"{i}.png" for i in range(3)), "-o", tmp_path / "o", "--profile", profile)
    assert code == 0
    assert re.search(r"set the pace: .*busy \d+ % of the time.* open .*profile.json in ui.perfetto.dev", err)
    events = _events(profile)
    _check_nesting(events)
    assert {"decode", "cut", "compute", "stitch", "encode"} <= {event["name"] for event in events}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--profile", "photo.png"), "must end in .json"),
        (("--profile", "missing/p.json"), "cannot be written"),
        (("--profile", "p.json", "--cluster", "auto"), "leave one of them out"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(
    arguments: tuple[str, ...], words: str, sr_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _jobs(tmp_path, 1)
    code, _, err = sr_batch(tmp_path / "0.png", *arguments)
    assert code == 2 and words in err
    assert not (tmp_path / "photo.png").exists()
