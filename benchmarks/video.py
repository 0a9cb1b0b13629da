"""What a video costs beside the network: against a bare PyAV loop. Memory: `video_memory.py`.

    python benchmarks/video.py [--frames 48] [--rounds 3] [--only hevc]

Both sides turn the same 480p clip (H.264 with sound) into one of four times the size with the same encoder settings;
the network is a stand-in that repeats each pixel 4x4. The bare loop is decode, RGB, repeat, encode in one thread, as
one writes it (the encoder has threads of its own), without sound, without a check, and with swscale's default
conversion, which is up to a code wrong. Ours is `upscale_video`: all of it. Speeds are frames a second, the ratio is
that of the medians of interleaved rounds; CPU seconds are of all threads, the ratio that of their medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from measure import interleaved_seconds, machine, print_table
from numpy.typing import NDArray

from sr_batch.videos.codecs import Codec
from sr_batch.videos.encoding import EncoderPlan, EncodingOptions, Output, add_video_stream, plan_encoding
from sr_batch.videos.heap import give_large_blocks_back
from sr_batch.videos.inference import Network
from sr_batch.videos.inspecting import inspect_video
from sr_batch.videos.upscaling import Progress, VideoSettings, upscale_video

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"
SIZE = (480, 854)  # height, width
SMALL = (64, 96)
SCALE = 4
RATE = 25
ENCODINGS = {
    "x264 veryfast": EncodingOptions(preset="veryfast"),
    "x264 medium (as it comes)": EncodingOptions(),
    "hevc: x265 veryfast": EncodingOptions(Codec.HEVC, preset="veryfast"),
    "hevc: x265 medium": EncodingOptions(Codec.HEVC),
}


def write_clip(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A photo that the camera pans over, with the noise of a sensor, and a second of sound for each of it."""
    height, width = size
    sample = cv2.imread(str(SAMPLE))
    assert sample is not None
    photo = cv2.resize(sample, (width + 2 * RATE, height + RATE), interpolation=cv2.INTER_AREA)
    random = np.random.default_rng(1)
    noise = [random.normal(0, 2, (height, width, 3)) for _ in range(7)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        video.codec_context.height, video.codec_context.width = size
        sound = container.add_stream("aac", rate=48000)
        for number in range(frames):
            top, left = number % RATE, number * 2 % (2 * RATE)
            seen = photo[top : top + height, left : left + width, ::-1] + noise[number % len(noise)]
            frame = VideoFrame.from_ndarray(np.clip(seen, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
            tone = np.sin(np.arange(48000 // RATE) * 0.05).astype(np.float32) * 0.1
            heard = AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            heard.sample_rate, heard.pts, heard.time_base = 48000, number * 48000 // RATE, Fraction(1, 48000)
            container.mux(sound.encode(heard))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def enlarged(batches: Iterable[NDArray[Any]]) -> Generator[NDArray[Any]]:
    """The stand-in for a network."""
    for batch in batches:
        yield np.stack([cv2.resize(one, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST) for one in batch])


def plan_of(source: Path, options: EncodingOptions) -> EncoderPlan:
    facts = inspect_video(source)
    height, width = facts.picture.size
    output = Output("mp4", height * SCALE, width * SCALE, facts.timeline.time_base, facts.rate, facts.codec)
    return plan_encoding(options, facts.picture, output)


def bare(source: Path, target: Path, plan: EncoderPlan) -> None:
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        encoder = add_video_stream(output, plan)
        for frame in container.decode(stream):
            large = next(enlarged([frame.to_ndarray(format="rgb24")[None]]))[0]
            new = VideoFrame.from_ndarray(large, format="rgb24")
            new.pts, new.time_base = frame.pts, frame.time_base
            output.mux(encoder.encode(new))
        output.mux(encoder.encode(None))


def ours(source: Path, target: Path, options: EncodingOptions, progress: Progress = lambda _done, _total: None) -> None:
    settings = VideoSettings(SCALE, tile=1024, halo=12, encoding=options)
    upscale_video(source, target, Network(enlarged, "stand-in"), settings, "content", progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="part of a row's name")
    chosen = parser.parse_args()
    give_large_blocks_back()  # as the command does; for both sides
    folder = Path(tempfile.mkdtemp())
    print(f"{machine()}, {chosen.frames} frames, {chosen.rounds} rounds\n")
    try:
        source, target = folder / "clip.mp4", folder / "large.mp4"
        write_clip(source, chosen.frames, SIZE)
        rows = []
        for name, encoding in ENCODINGS.items():
            if chosen.only is not None and chosen.only not in name:
                continue
            plan = plan_of(source, encoding)
            work = {"bare": partial(bare, source, target, plan), "ours": partial(ours, source, target, encoding)}
            rows.append(row(name, chosen.frames, *interleaved(work, chosen.rounds)))
        columns = ["480p to 1920x3416", "bare, frames/s", "ours, frames/s", "ours / bare", "CPU, ours / bare"]
        print_table(columns, rows)
    finally:
        shutil.rmtree(folder)


def row(name: str, frames: int, seconds: dict[str, float], cpu: dict[str, float]) -> list[str]:
    return [
        name,
        f"{frames / seconds['bare']:.2f}",
        f"{frames / seconds['ours']:.2f}",
        f"{seconds['bare'] / seconds['ours']:.2f}",
        f"{cpu['ours'] / cpu['bare']:.2f}",
    ]


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds, and CPU seconds of all threads, of each; the first round is not counted."""
    cpu: dict[str, list[float]] = {name: [] for name in work}

    def counted(name: str) -> None:
        begun = time.process_time()
        work[name]()
        cpu[name].append(time.process_time() - begun)

    seconds = interleaved_seconds({name: partial(counted, name) for name in work}, rounds)
    return seconds, {name: statistics.median(times[1:]) for name, times in cpu.items()}


if __name__ == "__main__":
    main()
