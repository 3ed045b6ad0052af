"""`m8d-export` as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from m8d.export.build import all_stages
from m8d.export.cli import app


def m8d_export(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_random_build_inspect_verify(tmp_path):
    """From nothing to a checked bundle; `verify` then tells one checkpoint from another."""
    checkpoint, bundle = tmp_path / "checkpoint", tmp_path / "bundle"
    assert m8d_export("random", checkpoint).exit_code == 0
    result = m8d_export(
        "build",
        "--checkpoint",
        checkpoint,
        "-o",
        bundle,
        "--check-seconds",
        0.5,
        "--without",
        "t2s",
        "--notice",
        "toy!",
    )
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[1:-1]]
    assert len(rows) == 13
    assert all(row[-1] == "ok" for row in rows)
    shown = m8d_export("inspect", bundle).stdout
    assert "toy!" in shown
    assert "s2a_full_backbone" in shown
    assert "t2s" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--checkpoint", "nowhere", "-o", "b"], "No checkpoint at nowhere"),
        (
            ["build", "--checkpoint", "nowhere", "-o", "b", "--without", "s2a"],
            "--without: received 's2a', expected t2s",
        ),
        (["build", "--checkpoint", "x", "-o", "b", "--precision", "fp8"], "expected one of fp32, fp16, bf16"),
        (["build", "--checkpoint", "x", "-o", "b", "--target", "tensorrt-rtx"], "at least one --compute-capability"),
        (["engines", "nowhere", "--target", "tensorrt-rtx", "--compute-capability", "8.9"], "No bundle at nowhere"),
        (["inspect", "nowhere"], "No bundle at nowhere"),
        (["verify", "nowhere", "--checkpoint", "x"], "No bundle at nowhere"),
        (["random", "x", "--size", "huge"], "expected one of official, toy"),
        (["random", "."], "exists already"),
    ],
)
def test_wrong_arguments(arguments, message):
    result = m8d_export(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_build_makes_plans_of_its_own_precision(monkeypatch, tmp_path):
    """Two stages in FP16, then their plans in two buckets, in one command."""
    stages = tuple(stage for stage in all_stages(True) if stage.name in ("s2a_1layer_backbone", "s2a_1layer_head"))
    monkeypatch.setattr("m8d.export.build.all_stages", lambda with_t2s: stages)
    monkeypatch.setattr("m8d.engines.bundle.STAGES", ())
    monkeypatch.setattr("m8d.engines.bundle.TTS_STAGES", ())
    m8d_export("random", tmp_path / "checkpoint")
    bundle, plans = tmp_path / "bundle", ["--target", "tensorrt-rtx", "--compute-capability", 8.9]
    made = [
        "build",
        "--checkpoint",
        tmp_path / "checkpoint",
        "-o",
        bundle,
        "--precision",
        "fp16",
        "--check-seconds",
        0.5,
    ]
    result = m8d_export(*made, *plans, "--max-seconds", 2, "--max-seconds", 6, "--optimization-level", 0)
    assert result.exit_code == 0, result.output
    rows = [line.split()[:2] for line in result.stdout.splitlines()[-3:-1]]
    assert rows == [["s2a_1layer_backbone", "fp16"], ["s2a_1layer_head", "fp32"]]
    (description,) = bundle.glob("engines/tensorrt-rtx-*_sm89_fp16+fp32_*/s2a_1layer_backbone.json")
    assert [profile["R"]["max"] for profile in json.loads(description.read_text())["profiles"]] == [200, 600]


def test_verify_fails_on_other_weights(odd_bundle, tmp_path):
    m8d_export("random", tmp_path / "other", "--seed", 9)
    result = m8d_export("verify", odd_bundle.folder, "--checkpoint", tmp_path / "other", "--check-seconds", 0.2)
    assert result.exit_code == 2
    assert "w2v_bert" in result.stderr
    assert "OFF" in result.stdout
