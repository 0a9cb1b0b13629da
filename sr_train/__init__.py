"""What the network is and how it learns. Light to import: torch comes with generator and checkpoint."""

from sr_train.errors import CheckpointError, SRError, UsageError

__all__ = ["CheckpointError", "SRError", "UsageError"]
