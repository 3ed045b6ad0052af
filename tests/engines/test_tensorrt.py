"""Plans built ahead of time by the real TensorRT-RTX, without a GPU: every stage, and everything that can be wrong."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import Bundle, StageSpec, TensorSpec
from m8d.engines.errors import BundleError, InputError, ProviderError
from m8d.engines.tensorrt.builder import BuilderOptions, PlanBuilder
from m8d.engines.tensorrt.plans import build_plans, descriptions, has_plans, plan_folder, read_plan
from m8d.engines.tensorrt.profiles import AxisRange, ProfileLimits, check_shapes, fits, stage_profiles
from m8d.engines.tensorrt.targets import Target, resolve_target
from m8d.export.half import to_bf16, to_fp16
from m8d.export.precision import stage_precision

LIMITS = ProfileLimits(max_seconds=(2.0, 10.0))
OPTIONS = BuilderOptions(optimization_level=0)
PRESENT = "8.9"  # the GPU of the tests


@pytest.fixture(scope="module")
def target():
    return resolve_target("tensorrt-rtx", ("8.9", "8.0"))


@pytest.fixture(scope="module")
def present(target):
    """What a machine with one GPU looks for."""
    return dataclasses.replace(target, capabilities=(PRESENT,))


@pytest.fixture(scope="module")
def built(target, tiny_bundle, tmp_path_factory):
    """A bundle with a plan of every stage."""
    folder = tmp_path_factory.mktemp("plans") / "bundle"
    shutil.copytree(tiny_bundle.folder, folder)
    bundle = Bundle.open(folder)
    build_plans(bundle, target, LIMITS, OPTIONS)
    return bundle


def test_every_stage_has_a_plan_with_the_manifest_inputs(built, present):
    for name, spec in built.manifest.stages.items():
        plan = read_plan(built, name, present)
        assert plan.data
        assert plan.profiles == stage_profiles(built.manifest, name, LIMITS)
        ((_, description),) = descriptions(built, name)
        assert description["plan_bytes"] == len(plan.data)
        for described, tensors in ((description["inputs"], spec.inputs), (description["outputs"], spec.outputs)):
            assert {t["name"]: t["dtype"] for t in described} == {t.name: t.dtype for t in tensors}


def test_a_second_build_does_nothing(built, target):
    lines = []
    build_plans(built, target, LIMITS, OPTIONS, lines.append)
    assert lines == []


def test_another_gpu_or_version_is_refused_with_the_command(built, present):
    for foreign, name in (
        (dataclasses.replace(present, version="9.9"), r"tensorrt-rtx-9\.9_sm89"),
        (dataclasses.replace(present, capabilities=("12.0",)), "sm120"),
    ):
        assert has_plans(built, present)
        assert not has_plans(built, foreign)
        expected = rf"no plan of w2v_bert for .*{name}.*It has plans for tensorrt-rtx-.*m8d-export engines .* --target"
        with pytest.raises(BundleError, match=expected):
            read_plan(built, "w2v_bert", foreign)


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


def test_a_damaged_plan_is_refused(copy, target, present):
    path = plan_folder(copy, target, LIMITS, OPTIONS) / "guidance.plan"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"plan of guidance .* is damaged"):
        read_plan(copy, "guidance", present)


def test_a_stale_plan_is_refused(copy, target, present):
    path = plan_folder(copy, target, LIMITS, OPTIONS) / "guidance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "graph_sha256": ["other"]}))
    with pytest.raises(BundleError, match="built from another graph"):
        read_plan(copy, "guidance", present)


def test_an_interrupted_build_leaves_nothing(copy, target):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plans(copy, target, ProfileLimits(max_seconds=(3.0,)), OPTIONS, interrupt)
    assert not plan_folder(copy, target, ProfileLimits(max_seconds=(3.0,)), OPTIONS).exists()
    assert list((copy.folder / "engines").glob(".building*")) == []


def test_integer_weights_are_refused(copy, target):
    stages = dict(copy.manifest.stages)
    stages["w2v_bert"] = dataclasses.replace(stages["w2v_bert"], precision="int8-storage")
    stored = dataclasses.replace(copy, manifest=dataclasses.replace(copy.manifest, stages=stages))
    with pytest.raises(BundleError, match="received graphs in int8-storage, expected fp32"):
        build_plans(stored, target, LIMITS, OPTIONS)


def graph(tmp_path, nodes, weights=()):
    """A one-input graph `x (B, 4)` → `y`."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 4]) for n in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], list(weights)), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.save(model, tmp_path / "g.onnx")
    tensors = (TensorSpec("x", "float32", ("B", 4)),)
    return tmp_path / "g.onnx", StageSpec("g.onnx", "fp32", tensors, tensors)


PROFILES = ({"B": AxisRange(1, 2, 3)},)


def test_an_unknown_operator_is_named(target, tmp_path):
    path, spec = graph(tmp_path, [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Det", ["x"], ["y"])])
    with pytest.raises(BundleError, match=r"cannot be parsed by tensorrt-rtx"):
        PlanBuilder(target, BuilderOptions()).build(path, spec, PROFILES)


def test_mixed_types_are_refused(target, tmp_path):
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), "w")
    path, spec = graph(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], [half])
    with pytest.raises(BundleError, match="cannot be"):
        PlanBuilder(target, BuilderOptions()).build(path, spec, PROFILES)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 3), (1, 4, 3)])
def test_impossible_ranges(sizes):
    with pytest.raises(InputError, match="expected 0 < min <= opt <= max"):
        AxisRange(*sizes)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_seconds": (0.0,)},
        {"max_seconds": ()},
        {"max_seconds": (5.0, 2.0)},
        {"max_batch": 0},
        {"prompt_seconds": -1.0},
    ],
)
def test_impossible_limits(limits):
    with pytest.raises(InputError, match="expected"):
        ProfileLimits(**limits)


def test_lengths_outside_the_profile_name_the_limit():
    manifest = builtin_bundle().manifest
    spec, (short, long) = manifest.stages["front_end"], stage_profiles(manifest, "front_end", LIMITS)
    check_shapes("front_end", spec, short, {"pcm": (1, 560), "lengths": (1,)})
    assert not fits(spec, short, {"pcm": (1, 32001), "lengths": (1,)})
    for samples in (559, 160001):
        with pytest.raises(InputError, match=rf"axis N has size {samples}, the plan serves 560 to 160000"):
            check_shapes("front_end", spec, long, {"pcm": (1, samples), "lengths": (1,)})


def test_buckets_are_tuned_for_their_own_lengths():
    manifest = builtin_bundle().manifest
    profiles = stage_profiles(manifest, "w2v_bert", ProfileLimits(max_seconds=(10.0, 30.0)))
    assert [profile["T"] for profile in profiles] == [AxisRange(1, 250, 500), AxisRange(1, 1000, 1500)]


@pytest.mark.parametrize("rewrite", [to_fp16, to_bf16])
@pytest.mark.parametrize(
    "stage", [name for name in builtin_bundle().manifest.stages if stage_precision("fp16", name) == "fp16"]
)
def test_half_graphs_build(target, tiny_bundle, tmp_path, stage, rewrite):
    """TensorRT takes no mixed types, so a graph that builds has its casts where they belong."""
    bundle = tiny_bundle
    model = onnx.load(bundle.folder / bundle.stage(stage).file)
    rewrite(model, {})
    onnx.save(model, tmp_path / "half.onnx")
    builder = PlanBuilder(target, OPTIONS)
    profiles = stage_profiles(bundle.manifest, stage, ProfileLimits(max_seconds=(2.0,)))
    built = builder.build(tmp_path / "half.onnx", bundle.stage(stage), profiles)
    assert {t.dtype for t in (*built.inputs, *built.outputs)} <= {"float32", "int64"}


def test_a_profile_that_contradicts_the_graph_is_refused(target, tmp_path):
    """Inputs that are added cannot have ranges that never meet."""
    shapes = (("x", "A"), ("y", "C"), ("z", None))
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [axis, 4]) for name, axis in shapes)
    adding = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "g", [x, y], [z])
    onnx.save(helper.make_model(adding, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "g.onnx")
    inputs = (TensorSpec("x", "float32", ("A", 4)), TensorSpec("y", "float32", ("C", 4)))
    spec = StageSpec("g.onnx", "fp32", inputs, (TensorSpec("z", "float32", ("A", 4)),))
    ranges = ({"A": AxisRange(2, 2, 3), "C": AxisRange(5, 6, 7)},)
    with pytest.raises(BundleError, match="cannot be built by tensorrt-rtx"):
        PlanBuilder(target, BuilderOptions()).build(tmp_path / "g.onnx", spec, ranges)


@pytest.mark.parametrize(
    ("name", "capabilities", "error", "message"),
    [
        ("tensorrt-rtx", (), InputError, "name at least one --compute-capability"),
        ("tensorrt-rtx", ("1.0",), InputError, r"received .1\.0., expected one such as 8\.9"),
        ("openvino", (), ProviderError, "expected one of tensorrt, tensorrt-rtx"),
        ("tensorrt", (), ProviderError, r"pip install m8d\[tensorrt\]|none is usable here"),
    ],
)
def test_targets_that_cannot_be(name, capabilities, error, message):
    with pytest.raises(error, match=message):
        resolve_target(name, capabilities)


def test_the_key_tells_targets_apart():
    assert Target("tensorrt-rtx", "1.7", ("8.0", "8.9")).key == "tensorrt-rtx-1.7_sm80+sm89"
