"""Results → one Markdown page and one HTML page, with plots."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from m8d.benchmarks.results import Result, Row

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;display:block;overflow-x:auto}
td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:right}td:first-child,th:first-child{text-align:left}
img{max-width:100%}code{background:#f3f3f3}"""


def write_report(results: list[Result], folder: Path) -> None:
    """Writes `report.md`, its plots as `.png` beside it, and `report.html` with everything inside."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Benchmark report", ""]
    for number, result in enumerate(results, 1):
        lines += [f"## {number}. {result.kind}", "", markdown_origin(result), "", markdown_tables(result), ""]
        for title, image in plots(result).items():
            name = f"{number}-{result.kind}-{title}.png"
            (folder / name).write_bytes(image)
            lines += [f"![{title}]({name})", ""]
    compared = _comparison(results)
    if compared:
        lines += ["## Figures side by side", "", _table(compared), ""]
    text = "\n".join(lines)
    (folder / "report.md").write_text(text)
    (folder / "report.html").write_text(_html(text, folder))


def markdown_origin(result: Result) -> str:
    machine = result.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return "\n".join([
        f"{result.taken}, commit {machine['commit']}. {machine['processor']}, {machine['cores']} cores "
        f"({' '.join(machine['instructions'])}), {machine['memory_gb']} GB, load average {machine['load_average'][0]} "
        f"at the end. Python {machine['python']}, {versions}.",
        "",
        "Settings: " + ", ".join(f"{key} {value}" for key, value in result.settings.items()) + ".",
    ])  # fmt: skip


def markdown_tables(result: Result) -> str:
    parts = [f"### {title}\n\n{_table(rows)}" for title, rows in result.tables.items() if rows]
    if result.figures:
        parts.append("### Figures\n\n" + _table([{"figure": k, "value": v} for k, v in result.figures.items()]))
    return "\n\n".join(parts)


def _table(rows: list[Row]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _comparison(results: list[Result]) -> list[Row]:
    """One row per figure of the kinds that there are several results of, one column per result."""
    rows: dict[tuple[str, str], Row] = {}
    for number, result in enumerate(results, 1):
        if sum(other.kind == result.kind for other in results) > 1:
            for name, value in result.figures.items():
                row = rows.setdefault((result.kind, name), {"kind": result.kind, "figure": name})
                row[f"{number}. {result.taken}"] = value
    return list(rows.values())


def plots(result: Result) -> dict[str, bytes]:
    """PNG images by name, for the kinds of result that say more as a picture."""
    if result.kind == "latency":
        stages = next(rows for title, rows in result.tables.items() if title.startswith("Stages"))
        whole = [row for row in result.tables["Whole tasks"] if row["task"] == "convert"]
        return {
            "conversion": _bars([f"{r['pipeline']} {r['quality']}" for r in whole], [r["seconds"] for r in whole], "s"),
            "stages": _bars([r["stage"] for r in stages], [100 * r["of product ceiling"] for r in stages],
                            "% of the product ceiling"),
        }  # fmt: skip
    if result.kind == "scaling":
        rows = result.tables["Cost against length"]
        lines = {
            task: [(r["audio s"], r["seconds"]) for r in rows if r["task"] == task] for task in ("encode", "decode")
        }
        return {"length": _lines(lines, "seconds of audio", "seconds", logarithmic=True)}
    growth = result.tables.get("Resident memory over conversions of varying length")
    if growth:
        points = [(row["conversions"], row["resident MB"]) for row in growth]
        return {"growth": _lines({"resident": points}, "conversions", "MB", logarithmic=False)}
    return {}


def _bars(names: list[str], values: list[float], unit: str) -> bytes:
    figure, axes = _figure(height=0.4 * len(names) + 1)
    axes.barh(names, values, color="#4477aa")
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    return _png(figure)


def _lines(lines: dict[str, list[tuple[float, float]]], x: str, y: str, logarithmic: bool) -> bytes:
    figure, axes = _figure(height=3.5)
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend()
    return _png(figure)


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _html(text: str, folder: Path) -> str:
    """The page with its images inside, so that one file can be passed on."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render(text)
    for image in folder.glob("*.png"):
        data = base64.b64encode(image.read_bytes()).decode()
        body = body.replace(f'src="{image.name}"', f'src="data:image/png;base64,{data}"')
    return f"<!doctype html><meta charset=utf-8><title>m8d benchmarks</title><style>{STYLE}</style>{body}"
