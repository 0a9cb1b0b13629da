"""What a video costs beside the network: against a bare PyAV loop, and its memory.

    python benchmarks/video.py [--frames 48] [--rounds 3] [--long 10000]

Both sides turn the same 480p clip (H.264 with sound) into one of four times the size with the same encoder settings;
the network is a stand-in that repeats each pixel 4x4. The bare loop is decode, RGB, repeat, encode in one thread, as
one writes it (the encoder has threads of its own), without sound, without a check, and with swscale's default
conversion, which is up to a code wrong. Ours is `upscale_video`: all of it. Speeds are frames a second, the ratio is
that of the medians of interleaved rounds; CPU seconds are of all threads. Memory: the peak of a process of its own;
for a long video at each tenth of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
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

from sr_batch.videos.encoding import EncoderPlan, EncodingOptions, Output, add_video_stream, plan_encoding
from sr_batch.videos.inference import Network
from sr_batch.videos.inspecting import inspect_video
from sr_batch.videos.upscaling import VideoSettings, upscale_video

SAMPLE = Path(__file__).parent.parent / "samples" / "coffee.jpg"
SIZE = (480, 854)  # height, width
SMALL = (64, 96)
SCALE = 4
RATE = 25
MEGA = 1e6


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


def ours(source: Path, target: Path, options: EncodingOptions, tenth: list[float] | None = None) -> None:
    def progress(done: int, total: int) -> None:
        if tenth is not None and done and done % max(1, total // 10) == 0:
            tenth.append(peak())

    settings = VideoSettings(SCALE, tile=1024, halo=12, encoding=options)
    upscale_video(source, target, Network(enlarged, "stand-in"), settings, "content", progress)


def cpu_seconds(function: Callable[[], object]) -> float:
    begun = time.process_time()
    function()
    return time.process_time() - begun


def peak() -> float:
    """MB of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent had in ru_maxrss
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / MEGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGA


def measure_memory(source: str, target: str, options: EncodingOptions, answer: Any) -> None:
    tenth = [peak()]
    ours(Path(source), Path(target), options, tenth)
    answer.put([*tenth, peak()])


def memory(source: Path, target: Path, options: EncodingOptions) -> list[float]:
    """MB at the start, after each tenth, at the end."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=measure_memory, args=(str(source), str(target), options, answer))
    process.start()
    found: list[float] = answer.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=10000, help="frames of the small clip for memory; 0: leave it out")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    print(machine())
    try:
        source, target = folder / "clip.mp4", folder / "large.mp4"
        write_clip(source, options.frames, SIZE)
        rows = []
        for name, encoding in {
            "x264 veryfast": EncodingOptions(preset="veryfast"),
            "as it comes (x264 medium)": EncodingOptions(),
        }.items():
            plan = plan_of(source, encoding)
            work = {"bare": partial(bare, source, target, plan), "ours": partial(ours, source, target, encoding)}
            seconds = interleaved_seconds(work, options.rounds)
            cpu = {side: cpu_seconds(function) for side, function in work.items()}
            used = memory(source, target, encoding)[-1]
            speeds = {side: options.frames / taken for side, taken in seconds.items()}
            ratio = speeds["ours"] / speeds["bare"]
            rows.append(
                [
                    name,
                    f"{speeds['bare']:.2f}",
                    f"{speeds['ours']:.2f}",
                    f"{ratio:.2f}",
                    f"{cpu['ours'] / cpu['bare']:.2f}",
                    f"{used:.0f}",
                ]
            )
        columns = [
            "480p to 1920x3416",
            "bare, frames/s",
            "ours, frames/s",
            "ours / bare",
            "CPU, ours / bare",
            "ours, peak MB",
        ]
        print_table(columns, rows)
        if options.long:
            write_clip(folder / "long.mp4", options.long, SMALL)
            found = memory(folder / "long.mp4", target, EncodingOptions(preset="ultrafast"))
            print(f"\n{options.long} frames of 64x96, MB at the start and after each tenth: ", end="")
            print(", ".join(f"{size:.0f}" for size in found[:-1]))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
