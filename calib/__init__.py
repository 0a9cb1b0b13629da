"""The INT8 form of a model, with a quality gate. Announced; not in this release."""

__all__: list[str] = []
