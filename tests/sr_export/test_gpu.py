"""Asking the driver: no driver, a broken one and a good one each give an answer, never an exception."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from sr_export import gpu
from sr_export.gpu import Driver, Gpu, ask_driver


class FakeDriver:
    """libcuda's functions, for one GPU."""

    def __init__(self, status: int = 0, count: int = 1) -> None:
        self._status, self._count = status, count

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - libcuda's name
        return self._status

    def __getattr__(self, name: str) -> Any:
        answers = {"cuDeviceGetCount": self._count, "cuDriverGetVersion": 13010, "cuDeviceTotalMem_v2": 24 << 30}

        def call(target: Any, *rest: Any) -> int:
            match name:
                case "cuDeviceGetName":
                    target.value = b"NVIDIA GeForce RTX 4090"
                case "cuDeviceGetAttribute":
                    target._obj.value = {75: 8, 76: 9}[rest[0]]
                case _:
                    target._obj.value = answers.get(name, 0)
            return 0

        return call


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    ask_driver.cache_clear()


def test_a_good_driver_gives_its_gpus() -> None:
    expected = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24 << 30)
    assert gpu._ask(FakeDriver()) == Driver((expected,), "13.1")


def test_a_driver_that_does_not_start_gives_its_error_number() -> None:
    assert "error 100" in gpu._ask(FakeDriver(status=100)).problem


def test_a_driver_without_a_gpu_is_a_problem() -> None:
    assert gpu._ask(FakeDriver(count=0)) == Driver((), "", "the NVIDIA driver finds no GPU")


def test_no_driver_is_a_problem_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> ctypes.CDLL:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    answer = ask_driver()
    assert answer.gpus == () and "no NVIDIA driver is installed" in answer.problem
    ask_driver.cache_clear()
