"""The INT8 form of a model, and the gate that says whether to use it. See docs/calib.md."""

__all__: list[str] = []
