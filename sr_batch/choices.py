"""What the options of the command line mean for this model and this engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sr_batch.folders import Naming, OnCollision
from sr_batch.options import Options
from sr_batch.photos import AlphaChoice, IccChoice, PhotoFormat, PngLevel, ReadOptions, WriteOptions
from sr_batch.pipeline import Settings
from sr_batch.sizes import Scaled, SizePolicy, Target
from sr_batch.videos.codecs import Codec
from sr_export.model import Model, find_model
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from sr_batch.tuned import Tuned
    from sr_batch.videos.upscaling import VideoSettings
    from sr_export.engines.base import Traits
    from sr_export.onnx_file import OnnxFacts
    from sr_export.shape import BatchShape

__all__ = [
    "chosen_halo",
    "chosen_model",
    "chosen_naming",
    "chosen_settings",
    "chosen_shape",
    "chosen_sizes",
    "chosen_video_settings",
]

FIXED_TILE = 256  # LR pixels: window side of engines that are built for one; not measured on a GPU
MEGA = 1e6


def chosen_model(options: Options, say: Callable[[str], None]) -> Model:
    """The model that -n names, or the one between two that --strength asks for. Raises ModelError, UsageError."""
    if options.strength is None:
        if options.strength_base is not None:
            raise UsageError("--strength-base says where --strength 0 is; give --strength too")
        return find_model(options.model)
    from sr_export.strength import BASE, TOP, blended_model, find_ends

    top = TOP if options.model == BASE else options.model  # -n srresnet names the other end
    return blended_model(*find_ends(options.strength_base or BASE, top), options.strength, say)


def chosen_video_settings(options: Options, photos: Settings) -> VideoSettings:
    from sr_batch.videos.deinterlacing import Deinterlace
    from sr_batch.videos.encoding import EncodingOptions, Hardware
    from sr_batch.videos.frames import OnBadFrame
    from sr_batch.videos.upscaling import VideoSettings

    start, end = options.range
    return VideoSettings(
        scale=photos.scale,
        tile=photos.tile,
        halo=photos.halo,
        batch=photos.batch,
        fixed_tile=photos.fixed_tile,
        encoding=EncodingOptions(
            Codec(options.codec), options.crf, options.preset, options.pix_fmt, Hardware(options.hw)
        ),
        stream=options.stream,
        on_bad_frame=OnBadFrame(options.on_bad_frame),
        deinterlace=Deinterlace(options.deinterlace),
        start=start,
        end=end,
        keep_mtime=options.mtime,
    )


def chosen_sizes(options: Options) -> SizePolicy:
    target: Target | None = options.target_size if options.scale is None else Scaled(options.scale)
    return SizePolicy(target, options.skip_larger_than, int(options.max_output * MEGA))


def chosen_naming(options: Options, scale: int) -> Naming:
    """How results are named with a network of this scale: photos_x4, photos_x1.5, photos_long3840."""
    kinds = {kind.name.lower(): kind for kind in PhotoFormat} | {"jpg": PhotoFormat.JPEG}
    target = chosen_sizes(options).target_for(scale)
    mark = f"_x{target.factor:g}" if isinstance(target, Scaled) else f"_{target}".replace("=", "")
    return Naming(
        mark,
        options.output,
        options.suffix,
        kinds.get(options.format),
        OnCollision(options.on_collision),
        Codec(options.codec),
    )


def chosen_halo(wanted: str | int, facts: OnnxFacts) -> int:
    """The halo in LR pixels that --halo means for this model. Raises UsageError when none could be measured."""
    match wanted:
        case "auto":
            halo = facts.halo_measured if facts.halo_measured is not None else facts.halo
        case "exact":
            halo = facts.halo
        case chosen:
            halo = int(chosen)
    if halo is None:
        raise UsageError(
            "this model sees further than could be measured, so tiles may show seams; choose with --halo N"
        )
    return halo


def chosen_shape(options: Options, halo: int, tuned: Tuned | None = None) -> BatchShape:
    """The largest batch and window that will come, for engines that are built for one."""
    from sr_export.shape import BatchShape

    side = options.tile or (tuned.tile if tuned else max(FIXED_TILE, 4 * halo))
    return BatchShape(options.batch or (tuned.batch if tuned else 1), side, side)


def chosen_settings(options: Options, traits: Traits, halo: int, tuned: Tuned | None = None) -> Settings:
    """`tuned`: what --tune found for this engine; None: the engine's own tile and one tile at a time."""
    load, save = options.jobs
    best = max(tuned.tile if tuned else traits.tile, 4 * halo)
    return Settings(
        scale=traits.scale,
        # An engine of one tile size was opened for what was asked, or for less where memory was short.
        tile=traits.tile if traits.fixed_tile else options.tile or best,
        halo=halo,
        sizes=chosen_sizes(options),
        batch=options.batch or (tuned.batch if tuned else 1),
        read=ReadOptions(IccChoice(options.icc), options.strip, int(options.max_pixels * MEGA), options.clip),
        write=WriteOptions(options.quality, PngLevel(options.png_level)),
        alpha=AlphaChoice(options.alpha),
        keep_mtime=options.mtime,
        overwrite=options.overwrite,
        fixed_tile=traits.fixed_tile,
        load=load,
        save=save,
    )
