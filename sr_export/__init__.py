"""What a trained network becomes, and what it runs as. Light to import: the libraries that compute come when used."""

from sr_export.engines import Engine, EngineName, Precision, open_engine
from sr_export.errors import CacheError, EngineFailed, EngineUnavailable, ModelError
from sr_export.model import Model, Prepared, find_model, prepare

__all__ = [
    "CacheError",
    "Engine",
    "EngineFailed",
    "EngineName",
    "EngineUnavailable",
    "Model",
    "ModelError",
    "Precision",
    "Prepared",
    "find_model",
    "open_engine",
    "prepare",
]
