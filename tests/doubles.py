"""Stand-ins for a GPU, of NumPy, that write down what they are asked to do. They prove logic, not that a GPU runs."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np


class DeviceArray(np.ndarray):
    """An array that counts as lying on the device."""


class RecordingDevice:
    """In place of `m8d.engines.device.Device`; `log` has allocations, copies to the host, captures and launches."""

    index, capability = 0, "8.9"

    def __init__(self):
        self.log = []
        self.arrays = np
        self.stream = SimpleNamespace(ptr=77)

    @contextmanager
    def use(self):
        yield

    def holds(self, array):
        return isinstance(array, DeviceArray)

    def allocate(self, size):
        self.log.append(("allocate", size))
        return np.zeros(size, np.uint8).view(DeviceArray)

    def address(self, array):
        return array.ctypes.data

    def copy(self, target, source):
        target[...] = source

    def to_host(self, arrays):
        self.log.append(("to_host", *arrays))
        return {name: np.array(array) for name, array in arrays.items()}

    def capture(self, work):
        self.log.append(("capture",))
        work()
        return lambda: self.log.append(("launch",))
