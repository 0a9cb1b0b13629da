"""Real Ray clusters on this machine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def local_cluster() -> Iterator[Any]:
    """A head without cores, so that all work is on nodes that may go, and two nodes of one core each; connected to."""
    import ray
    from ray.cluster_utils import Cluster

    # Ray ends workers when the machine's memory is nearly full: whoever else uses it must not fail these tests.
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        # Its hooks for the process's end cannot be set in threads, and nodes are added in them: we end it ourselves.
        options = {"num_cpus": 0, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=options, shutdown_at_exit=False)
        made.add_node(num_cpus=1)
        made.add_node(num_cpus=1)
        try:
            ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()  # type: ignore[no-untyped-call]
