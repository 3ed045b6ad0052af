"""The README's commands work as written, and its links lead somewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(<!-- not run: .* -->\n)?```(bash|python)\n(.*?)```", re.DOTALL)
COMMANDS = {"m8d-run": "m8d.runtime.cli", "m8d-export": "m8d.export.cli"}


def blocks():
    found = [(language, code) for skipped, language, code in BLOCK.findall(README) if not skipped]
    return [block for block in found if not block[1].startswith("make ")]  # CI runs those as they are


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the demo clips and the two commands on PATH; later blocks see what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("readme")
    for clip in (ROOT / "runtime" / "m8d" / "runtime" / "demo").glob("*.flac"):
        shutil.copy(clip, folder)
        (folder / "audio").mkdir(exist_ok=True)
        shutil.copy(clip, folder / "audio")
    (folder / "bin").mkdir()
    for name, module in COMMANDS.items():
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    return folder


@pytest.mark.parametrize(("language", "code"), blocks())
def test_block(workplace, language, code):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_there_are_blocks_to_run():
    assert {language for language, _ in blocks()} == {"bash", "python"}


def test_figures_are_those_of_the_report():
    results = ROOT / "benchmarks" / "results"
    tasks = json.loads((results / "latency.json").read_text())["tables"]["Whole tasks"]
    times = {(row["pipeline"], row["task"], row["quality"]): row["seconds"] for row in tasks}
    columns = ("torch", "official-fp32", "official-int8")
    for line, task, quality in (("encode", "encode", ""), ("reconstruct", "reconstruct", ""),
                                ("convert, same codes in FP32", "convert", "default"),
                                ("convert `--quality turbo`", "convert", "turbo")):  # fmt: skip
        seconds = [times.get((column, task, quality)) for column in columns]
        cells = [f"{s:.2f} s" if s and s < 1 else f"{s:.1f} s" if s else "" for s in seconds]
        assert f"| {line} | {' | '.join(cells)} |".replace("|  |", "| |") in README
    peaks = json.loads((results / "memory-official.json").read_text())["tables"][
        "Peak resident memory of one conversion"
    ]
    low, torch = (next(r["peak GB"] for r in peaks if wanted in r.values()) for wanted in ("--low-memory", "torch"))
    assert f"| peak memory, with `--low-memory` | {torch:.1f} GB | {low:.1f} GB |" in README


def test_quality_is_that_of_the_report():
    result = json.loads((ROOT / "benchmarks" / "results" / "quality-builtin-seen.json").read_text())
    rows = {row["system"].removeprefix("builtin-small: "): row for row in result["tables"]["Systems"]}
    for line, system in (("the originals", "originals"), ("their references", "shuffled: the reference itself"),
                         ("through the codec alone", "codec alone"), ("`convert`", "convert, default"),
                         ("`tts`", "tts")):  # fmt: skip
        row = rows[system]
        figures = f"{row['WER']:.0%} | {row['closer to reference']:+.2f} | {row['DNSMOS']:.1f}"
        assert f"| {line} | {figures} |" in README
    assert f"{result['settings']['clips']} held-out sentences" in README


def test_links():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
