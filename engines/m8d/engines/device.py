"""A GPU through CuPy: its memory, and one stream that all work of a pipeline goes to, in order."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from m8d.engines.errors import ProviderError


class Device:
    """Raises `ProviderError` when CuPy or the GPU is missing.

    Attributes:
        arrays: the CuPy module, NumPy's functions for arrays on the device.
        capability: compute capability, such as `8.9`.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._turn = threading.RLock()
        try:
            import cupy

            self.arrays: Any = cupy
            self._device = cupy.cuda.Device(index)
            self.capability = ".".join(self._device.compute_capability)
            with self._device:
                # Work on the default stream waits for all others.
                self.stream = cupy.cuda.Stream(non_blocking=True)
        except ImportError as error:
            raise ProviderError(
                "CuPy is not installed, and GPU providers need it. Install it with `pip install cupy-cuda12x`."
            ) from error
        except Exception as error:  # CuPy has an exception of its own for each layer of CUDA
            raise ProviderError(
                f"GPU {index} is not usable: {error}. Check `nvidia-smi` and --device, or use --provider cpu."
            ) from error

    @contextmanager
    def use(self) -> Iterator[None]:
        """What CuPy does inside goes to this device and this stream; nothing waits for the device.

        Threads take turns, since sessions hand out views of buffers that their next run overwrites.
        """
        with self._turn, self._device, self.stream:
            yield

    def holds(self, array: Any) -> bool:
        return isinstance(array, self.arrays.ndarray)

    def allocate(self, size: int) -> Any:
        """`size` bytes, `(size,)` uint8."""
        return self.arrays.empty(size, np.uint8)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def copy(self, target: Any, source: Any) -> None:
        """From the host or the device into an array on the device."""
        if self.holds(source):
            target[...] = source
        else:
            target.set(np.ascontiguousarray(source))

    def to_host(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Waits for all work so far."""
        return {name: array.get() for name, array in arrays.items()}

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records what `work` puts on the stream, without running it, as a CUDA graph; calling the result runs it."""
        self.stream.begin_capture()
        try:
            work()
        finally:
            graph = self.stream.end_capture()
        return lambda: graph.launch(self.stream)


@functools.cache
def open_device(index: int) -> Device:
    """One `Device` per GPU in a process, so that sessions share its stream."""
    return Device(index)
