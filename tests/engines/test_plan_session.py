"""Running plans, on recording doubles of TensorRT's engine and of the device: shapes, buffers, streams and graphs.

What a double cannot show, that the numbers are right, is in docs/gpu-validation.md.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorrt_rtx as trt

from doubles import DeviceArray, RecordingDevice
from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import StageSpec, TensorSpec
from m8d.engines.errors import BundleError, InputError
from m8d.engines.tensorrt import session as session_module
from m8d.engines.tensorrt.plans import Plan
from m8d.engines.tensorrt.profiles import AxisRange
from m8d.engines.tensorrt.session import MAX_GRAPHS, PlanSession, open_plan

SPEC = StageSpec("s.onnx", "fp32", (TensorSpec("x", "float32", ("T", 2)),), (TensorSpec("twice", "float32", ("T", 2)),))
PROFILES = ({"T": AxisRange(1, 4, 8)}, {"T": AxisRange(1, 30, 40)})
STREAM = 77


class RecordingContext:
    """In place of `IExecutionContext`: doubles `x`, reading and writing at the addresses that it was given."""

    def __init__(self, log, refuse=()):
        self.log, self.refuse = log, refuse
        self.addresses, self.shape = {}, None

    def _did(self, name, *arguments):
        self.log.append((name, *arguments))
        return name not in self.refuse

    def set_device_memory(self, address, size):
        self._did("set_device_memory", size)

    def set_optimization_profile_async(self, index, stream):
        return self._did("profile", index, stream)

    def set_input_shape(self, name, shape):
        self.shape = shape
        return self._did("shape", name, shape)

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return self._did("address", name)

    def execute_async_v3(self, stream):
        count = int(np.prod(self.shape))
        x, twice = (np.ctypeslib.as_array((np.ctypeslib.ctypes.c_float * count).from_address(self.addresses[n]))
                    for n in ("x", "twice"))  # fmt: skip
        twice[:] = 2 * x
        return self._did("execute", stream)


@pytest.fixture
def log():
    return []


@pytest.fixture
def session(log):
    return recording_session(log)


def recording_session(log, context=RecordingContext, **options):
    engine = SimpleNamespace(device_memory_size_v2=1000)
    return PlanSession("s", SPEC, PROFILES, engine, lambda: context(log, **options), RecordingDevice())


def numbers(length):
    return np.arange(2 * length, dtype=np.float32).reshape(length, 2)


def names(log):
    return [entry[0] for entry in log]


def test_host_arrays_come_back_to_the_host(session, log):
    np.testing.assert_array_equal(session.run({"x": numbers(3)})["twice"], 2 * numbers(3))
    assert ("execute", STREAM) in log
    assert session.device.log[-1] == ("to_host", "twice")


def test_device_arrays_stay_there_and_nothing_waits(session):
    result = session.run({"x": numbers(3).view(DeviceArray)})["twice"]
    assert isinstance(result, DeviceArray)
    assert "to_host" not in names(session.device.log)


def test_buffers_are_allocated_once_per_profile_at_its_largest(session):
    for length in (3, 8, 1):
        session.run({"x": numbers(length)})
    allocated = [size for name, size in session.device.log if name == "allocate"]
    assert allocated == [1000, 8 * 2 * 4, 8 * 2 * 4]
    session.run({"x": numbers(9)})
    allocated = [size for name, size in session.device.log if name == "allocate"]
    assert allocated[3:] == [40 * 2 * 4, 40 * 2 * 4]


def test_the_first_profile_that_fits_runs(session, log):
    session.run({"x": numbers(8)})
    session.run({"x": numbers(9)})
    assert [entry for entry in log if entry[0] == "profile"] == [("profile", 0, STREAM), ("profile", 1, STREAM)]


@pytest.mark.parametrize("length", [41])
def test_a_length_that_no_profile_serves(session, length):
    with pytest.raises(InputError, match=f"axis T has size {length}, the plan serves 1 to 40"):
        session.run({"x": numbers(length)})


def test_a_wrong_dtype_is_refused(session):
    with pytest.raises(InputError, match="received float64"):
        session.run({"x": numbers(3).astype(np.float64)})


def test_a_shape_that_comes_again_is_captured_and_then_launched(session, log):
    """The first run of a shape is plain; the second captures in a context of its own; from then on it launches."""
    device_log = session.device.log
    session.run({"x": numbers(3)})
    assert "capture" not in names(device_log)
    np.testing.assert_array_equal(session.run({"x": numbers(3)})["twice"], 2 * numbers(3))
    assert names(device_log).count("capture") == 1
    assert names(log).count("profile") == 2
    executed = names(log).count("execute")
    session.run({"x": numbers(5)})
    session.run({"x": numbers(3)})
    assert names(device_log).count("launch") == 1
    assert names(log).count("execute") == executed + 1


def test_scratch_memory_is_shared_by_all_contexts(session, log):
    for _ in range(2):
        session.run({"x": numbers(3)})
    assert [size for name, *rest in log if name == "set_device_memory" for size in rest] == [1000, 1000]


def test_captured_graphs_do_not_pile_up(session):
    for length in range(1, 2 * MAX_GRAPHS + 5):
        for _ in range(2):
            session.run({"x": numbers(length)})
    assert all(len(lane._graphs) <= MAX_GRAPHS for lane in session._lanes.values())


def test_a_context_that_cannot_be_captured_runs_without(log):
    class Uncapturable(RecordingContext):
        def is_stream_capturable(self, stream):
            return False

    session = recording_session(log, Uncapturable)
    for _ in range(3):
        np.testing.assert_array_equal(session.run({"x": numbers(3)})["twice"], 2 * numbers(3))
    assert "capture" not in names(session.device.log)


@pytest.mark.parametrize("step", ["profile", "shape", "address", "execute"])
def test_a_refusal_of_tensorrt_is_an_error(log, step):
    with pytest.raises(BundleError, match=r"TensorRT could not .* with profile 0 of its plan"):
        recording_session(log, refuse=(step,)).run({"x": numbers(3)})


def test_a_plan_that_does_not_load_says_what_tensorrt_said(monkeypatch, tmp_path):
    plan = Plan(tmp_path / "guidance.plan", b"no plan", PROFILES)
    monkeypatch.setattr(session_module, "open_device", lambda index: RecordingDevice())
    monkeypatch.setattr(session_module, "read_plan", lambda *_: plan)
    monkeypatch.setattr(trt, "Runtime", lambda log: SimpleNamespace(
        deserialize_cuda_engine=lambda data: log.log(trt.ILogger.ERROR, "magic tag does not match")))  # fmt: skip
    with pytest.raises(BundleError, match=r"guidance\.plan cannot be loaded .*magic tag.*Remove .*m8d-export engines"):
        open_plan(builtin_bundle(), "guidance", "tensorrt-rtx", 0)
