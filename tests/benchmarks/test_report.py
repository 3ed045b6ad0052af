"""Results as JSON and as pages, and the command line."""

import json

import pytest
from typer.testing import CliRunner

from m8d.benchmarks.__main__ import app
from m8d.benchmarks.projection import projection
from m8d.benchmarks.report import write_report
from m8d.benchmarks.results import Result, read_result
from m8d.engines.errors import InputError


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def scaling_result():
    rows = [
        {"task": task, "audio s": s, "seconds": s * cost, "RTF": cost, "spread": 0.1}
        for task, cost in (("encode", 0.01), ("decode", 0.2))
        for s in (1.0, 2.0)
    ]
    return Result("scaling", {"repeats": 1}, {"Cost against length": rows}, {"decode, exponent": 1.0})


def test_result_survives_its_file(tmp_path, scaling_result):
    scaling_result.write(tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == scaling_result


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "m8d-benchmark", "kind": 1}'])
def test_foreign_file_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match="not a benchmark result"):
        read_result(tmp_path / "r.json")


def test_report_has_tables_plots_and_a_comparison(tmp_path, scaling_result):
    write_report([scaling_result, scaling_result], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| decode | 2.0 |" in text.replace("| decode | 2 |", "| decode | 2.0 |")
    assert "| scaling | decode, exponent | 1 | 1 |" in text
    assert (tmp_path / "report" / "1-scaling-length.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "<table>" in page


def test_command_writes_and_ends_with_figures(tmp_path):
    done = run("scaling", "builtin", "--seconds", 0.4, "--seconds", 0.8, "--quality", "turbo", "--repeats", 1,
               "--output", tmp_path / "s.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1]) == read_result(tmp_path / "s.json").figures
    made = run("report", tmp_path / "s.json", "--output", tmp_path / "pages")
    assert made.exit_code == 0
    assert "decode, exponent" in (tmp_path / "pages" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("parity", "builtin"), "expected two or more"),
        (("latency", "builtin", "builtin"), "Bundles need names of their own"),
        (("latency", "nowhere"), "nowhere"),
        (("scaling", "builtin", "--seconds", "1"), "expected two or more"),
        (("report", "missing.json", "--output", "x"), "not a benchmark result"),
        (("latency", "builtin", "--quality", "slow", "--repeats", "1"), "expected one of best"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def latency_result(**row):
    stage = {"stage": "w2v_bert", "task": "convert", "GFLOP": 1.0, "GB moved": 0.001, "kernels": 1, **row}
    spoken = {**stage, "stage": "t2s_backbone", "task": "speak"}
    return Result("latency", {"seconds": 2.0, "prompt": 1.0}, {"Stages of x": [stage, spoken]}, {})


@pytest.mark.parametrize(
    ("row", "bound"),
    [({"GFLOP": 1e6}, "compute"), ({"GB moved": 1e3}, "bandwidth"), ({"kernels": 10**6}, "launch")],
)
def test_projection_finds_the_bound(row, bound):
    result = projection(latency_result(**row))
    device = result.tables["Expected"][0]
    assert device[f"bound by {bound}"] == 1
    assert len(result.tables["Work"]) == 1


def test_projection_is_arithmetic():
    device = projection(latency_result(GFLOP=1e3)).tables["Expected"][0]
    assert device["RTF"] == pytest.approx(1e12 / (989e12 * 0.5) / 2)


def test_projection_of_another_result_is_refused(scaling_result):
    with pytest.raises(InputError, match="needs a latency result"):
        projection(scaling_result)


def test_spectrograms_are_a_picture(tmp_path):
    done = run("spectrograms", "builtin", "--output", tmp_path / "demo.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.png"]
