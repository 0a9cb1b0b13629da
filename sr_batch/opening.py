"""The engine of a run: as the options ask for it, in the form that --tune found best."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sr_batch.choices import chosen_shape
from sr_batch.options import Options
from sr_batch.tuned import Tuned, TuneKey, find_tuned, keep_tuned
from sr_export.engines import EngineName, Precision, open_engine, refuse_what_is_not_built
from sr_export.model import prepare
from sr_export.shape import BatchShape

if TYPE_CHECKING:
    from sr_export.engines.base import Engine
    from sr_export.model import Prepared

__all__ = ["Opening", "Ready", "refuse_early"]

Say = Callable[[str], None]  # a line for people
Auto = Literal["auto"]


def refuse_early(options: Options) -> None:
    """Raise EngineUnavailable for what cannot be had here, before a model is made."""
    refuse_what_is_not_built(_engine_name(options), _precision(options))


@dataclass(frozen=True)
class Ready:
    """An open engine, and what --tune found for its kind."""

    engine: Engine
    tuned: Tuned | None
    open_deep: Callable[[], Engine]  # its twin for pictures of more than 8 bits


@dataclass(frozen=True)
class Opening:
    """How the engine of a run is opened."""

    options: Options
    prepared: Prepared
    halo: int  # LR pixels
    say: Say

    def open(self) -> Ready:
        """The engine that is asked for. Raises SRError with the fix when it cannot be had."""
        options = self.options
        form = self._form()
        engine = self._open_as_asked(form)
        tuned = find_tuned(TuneKey(self.prepared.model, engine.traits, self.halo), self.say)
        device, shape = options.device, chosen_shape(options, self.halo, tuned)
        if tuned is not None and tuned.engines > 1:
            device = ",".join(["cpu"] * tuned.engines)
        if device != options.device or (engine.traits.fixed_tile and shape != chosen_shape(options, self.halo)):
            traits = engine.traits
            engine.close()
            engine = self._open(form, traits.name, traits.precision, device, shape)
        name = engine.traits.name

        def open_deep() -> Engine:
            return self._open(prepare(self.prepared.model, self.say, "deep"), name, "auto", device, shape)

        return Ready(engine, tuned, open_deep)

    def tune(self) -> str:
        """Measure what runs fastest and keep it for the runs to come; the table for people. Takes about a minute."""
        from sr_batch.tune import CPU_BYTES, print_measured, tune
        from sr_train.memory import available_bytes

        form = self._form()
        with self._open_as_asked(form) as engine:
            traits = engine.traits
            self.say(f"tuning {self.prepared.model.name} on {traits.describe()}, about a minute")

            def open_as(engines: int, shape: BatchShape) -> Engine:
                device = ",".join([traits.device] * engines)
                return self._open(form, traits.name, traits.precision, device, shape)

            free = available_bytes() or CPU_BYTES
            memory = min(CPU_BYTES, free // 2) if "cpu" in traits.device else None
            best, races = tune(engine, open_as, self.halo, memory)
        keep_tuned(TuneKey(self.prepared.model, traits, self.halo), best)
        table = io.StringIO()
        print_measured(best, races, table)
        return table.getvalue()

    def _open_as_asked(self, form: Prepared) -> Engine:
        options = self.options
        shape = chosen_shape(options, self.halo)
        return self._open(form, _engine_name(options), _precision(options), options.device, shape, explained=True)

    def _open(
        self,
        form: Prepared,
        name: EngineName | Auto,
        precision: Precision | Auto,
        device: str,
        shape: BatchShape,
        *,
        explained: bool = False,
    ) -> Engine:
        def explain(reason: str) -> None:
            if explained and self.options.verbose:
                self.say(f"not taken: {reason}")

        return open_engine(
            form, name, precision, device, explain=explain, shape=shape, say=self.say, compiled=self.options.compile
        )

    def _form(self) -> Prepared:
        """The model itself, or its INT8 form where that is asked for: made, judged and cached on first use."""
        options = self.options
        if _precision(options) is not Precision.INT8:
            return self.prepared
        from calib.int8 import require_int8, target_for

        name, shape = _engine_name(options), chosen_shape(options, self.halo)

        def open_form(form: Prepared, precision: Precision | Auto) -> Engine:
            return self._open(form, name, precision, options.device, shape)

        return require_int8(self.prepared, target_for(name, options.device), open_form, self.say)


def _engine_name(options: Options) -> EngineName | Auto:
    return EngineName(options.engine) if options.engine != "auto" else "auto"


def _precision(options: Options) -> Precision | Auto:
    return Precision(options.precision) if options.precision != "auto" else "auto"
