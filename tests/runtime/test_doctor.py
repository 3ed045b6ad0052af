"""`m8d-run doctor` on machines with nothing, with everything (a double), and with plans that are not for them."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from doubles import RecordingDevice
from m8d.engines import doctor as doctor_module
from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import Bundle
from m8d.engines.doctor import BROKEN, MISSING, OK, Finding, diagnose
from m8d.engines.tensorrt.builder import BuilderOptions
from m8d.engines.tensorrt.plans import build_plans, plan_folder
from m8d.engines.tensorrt.profiles import ProfileLimits
from m8d.engines.tensorrt.targets import resolve_target
from m8d.runtime.cli import app

OPTIONS = BuilderOptions(optimization_level=0)


@pytest.fixture
def with_gpu(monkeypatch):
    found = (RecordingDevice(), [Finding("CuPy", OK, "13"), Finding("GPU 0", OK, "a double")])
    monkeypatch.setattr(doctor_module, "_gpu", lambda index: found)


def finding(diagnosis, subject):
    return next(f for f in diagnosis.findings if f.subject == subject)


def test_here():
    diagnosis = diagnose()
    assert diagnosis.usable == ("cpu",)
    assert finding(diagnosis, "CUDA in ONNX Runtime").remedy.endswith("pip install m8d[gpu]")
    assert finding(diagnosis, "tensorrt-rtx plans").state == MISSING


def test_a_machine_with_nothing(monkeypatch, tmp_path):
    for module in ("onnxruntime", "cupy", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for line in (
        "pip install m8d[cpu]",
        "pip install cupy-cuda12x",
        "No bundle at",
        "nothing can run this bundle here",
    ):
        assert line in result.stdout


def test_a_library_that_does_not_load(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    found = finding(diagnose(), "tensorrt")
    assert found.state == BROKEN
    assert "libcudart" in found.detail
    assert found.remedy == "reinstall it: pip install m8d[tensorrt]"


def test_plans_for_the_gpu_are_found_and_checked(with_gpu, monkeypatch, tmp_path):
    shutil.copytree(builtin_bundle().folder, tmp_path / "bundle")
    whole = Bundle.open(tmp_path / "bundle")
    one_stage = replace(whole.manifest, stages={"s2a_full_head": whole.stage("s2a_full_head")})
    bundle = replace(whole, manifest=one_stage)
    monkeypatch.setattr(doctor_module, "builtin_bundle", lambda: bundle)
    target, limits = resolve_target("tensorrt-rtx", (RecordingDevice.capability,)), ProfileLimits()
    assert finding(diagnose(), "tensorrt-rtx plans").remedy.endswith("--compute-capability 8.9`.")
    build_plans(bundle, target, limits, OPTIONS)
    assert diagnose().usable == ("tensorrt-rtx", "cpu")
    (plan_folder(bundle, target, limits, OPTIONS) / "s2a_full_head.plan").write_bytes(b"")
    assert "is damaged" in finding(diagnose(), "tensorrt-rtx plans").detail
    assert diagnose().usable == ("cpu",)


def test_json():
    values = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert values["usable"] == ["cpu"]
    assert {f["state"] for f in values["findings"]} <= {OK, MISSING, BROKEN}
