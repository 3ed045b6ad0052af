"""`m8d-export` as a user types it."""

import pytest
from typer.testing import CliRunner

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


def test_verify_fails_on_other_weights(odd_bundle, tmp_path):
    m8d_export("random", tmp_path / "other", "--seed", 9)
    result = m8d_export("verify", odd_bundle.folder, "--checkpoint", tmp_path / "other", "--check-seconds", 0.2)
    assert result.exit_code == 2
    assert "w2v_bert" in result.stderr
    assert "OFF" in result.stdout
