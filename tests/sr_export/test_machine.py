from __future__ import annotations

import os
from pathlib import Path

import pytest

from sr_export import machine
from sr_export.machine import cpu_threads


def _cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("own", "files", "threads"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "250000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "1600000 100000"}, 8),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "200000", "cpu/d/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"}, 8),
        ("0::/a\n", {"a/cpu.max": "rubbish"}, 8),
    ],
    ids=["no limit", "v2", "v2 parent", "above affinity", "v1", "v1 no limit", "unreadable"],
)
def test_threads_follow_the_affinity_and_the_containers_quota(
    own: str, files: dict[str, str], threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cgroup(tmp_path, monkeypatch, own, files)
    assert cpu_threads() == threads


def test_the_processor_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nmodel name\t: Another\n")
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert machine.cpu_name() == "Some CPU @ 2 GHz"
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "missing")
    assert machine.cpu_name()
