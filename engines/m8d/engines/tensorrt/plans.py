"""Plans in a bundle: `engines/<key>/<stage>.plan`, each with a description `<stage>.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m8d.engines.bundle import Bundle
from m8d.engines.errors import BundleError
from m8d.engines.tensorrt.builder import BuilderOptions, PlanBuilder
from m8d.engines.tensorrt.profiles import AxisRange, Profile, ProfileLimits, stage_profile
from m8d.engines.tensorrt.targets import Target

FOLDER = "engines"
TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class PlanReport:
    """One line of a build: what was made, of which size."""

    stage: str
    bytes: int
    file: str


def plan_folder(bundle: Bundle, target: Target, limits: ProfileLimits) -> Path:
    """`engines/<target>-<version>_sm…_<precisions>_<digest>`; the digest covers the graphs and the profile."""
    stages = bundle.manifest.stages
    precision = "+".join(sorted({stage.precision for stage in stages.values()}))
    facts = {
        "graphs": {name: _graph_hashes(bundle, name) for name in stages},
        "limits": dataclasses.asdict(limits),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return bundle.folder / FOLDER / f"{target.key}_{precision}_{digest}"


def build_plans(
    bundle: Bundle,
    target: Target,
    limits: ProfileLimits,
    options: BuilderOptions,
    report: Callable[[PlanReport], None] = lambda line: None,
) -> Path:
    """Builds every stage's plan; the folder appears when all are there. Returns it, at once if it exists already."""
    folder = plan_folder(bundle, target, limits)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    cache = folder.parent / TIMING_CACHE
    builder = PlanBuilder(target, options, cache.read_bytes() if cache.exists() else b"")
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        for name, spec in bundle.manifest.stages.items():
            profile = stage_profile(bundle.manifest, name, limits)
            built = builder.build(bundle.folder / spec.file, spec, profile)
            (staging / f"{name}.plan").write_bytes(built.plan)
            description = {
                "stage": name,
                "target": dataclasses.asdict(target),
                "precision": spec.precision,
                "graph_sha256": _graph_hashes(bundle, name),
                "plan_sha256": hashlib.sha256(built.plan).hexdigest(),
                "plan_bytes": len(built.plan),
                "profile": {axis: dataclasses.asdict(r) for axis, r in profile.items()},
                "inputs": [dataclasses.asdict(tensor) for tensor in built.inputs],
                "outputs": [dataclasses.asdict(tensor) for tensor in built.outputs],
            }
            (staging / f"{name}.json").write_text(json.dumps(description, indent=1) + "\n")
            report(PlanReport(name, len(built.plan), f"{name}.plan"))
        if builder.timing_cache:
            cache.write_bytes(builder.timing_cache)
        staging.chmod(0o755)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def read_plan(bundle: Bundle, stage: str, target: Target, limits: ProfileLimits) -> tuple[bytes, dict[str, Any]]:
    """The plan of `stage` and its description.

    Raises:
        BundleError: there is none for this target and profile, the graph has changed since, or the plan is damaged;
            the text has the command that builds it.
    """
    capabilities = " ".join(f"--compute-capability {c}" for c in target.capabilities)
    rebuild = f"Build it with `m8d-export engines {bundle.folder} --target {target.name}"
    rebuild += f" {capabilities}`." if target.name == "tensorrt-rtx" else "`."
    folder = plan_folder(bundle, target, limits)
    try:
        description = json.loads((folder / f"{stage}.json").read_text())
        plan = (folder / f"{stage}.plan").read_bytes()
    except (OSError, ValueError) as error:
        others = [p.name for p in folder.parent.glob("*") if p.is_dir()] if folder.parent.is_dir() else []
        there = f" It has plans for {', '.join(others)}." if others else ""
        raise BundleError(
            f"The bundle at {bundle.folder} has no usable plan of {stage} for {target.key}.{there} {rebuild}"
        ) from error
    if description.get("graph_sha256") != _graph_hashes(bundle, stage):
        raise BundleError(f"The plan of {stage} in {folder} was built from another graph. {rebuild}")
    if hashlib.sha256(plan).hexdigest() != description.get("plan_sha256"):
        raise BundleError(f"The plan of {stage} in {folder} is damaged. Remove {folder}. {rebuild}")
    return plan, description


def described_profile(description: dict[str, Any]) -> Profile:
    """The shape profile that a plan was built with."""
    return {axis: AxisRange(**sizes) for axis, sizes in description["profile"].items()}


def _graph_hashes(bundle: Bundle, stage: str) -> list[str]:
    spec = bundle.stage(stage)
    return [bundle.manifest.files[file].sha256 for file in (spec.file, spec.data) if file]
