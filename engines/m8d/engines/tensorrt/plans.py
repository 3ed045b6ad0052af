"""Plans in a bundle: `engines/<key>/<stage>.plan`, each with a description `<stage>.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m8d.engines.bundle import Bundle
from m8d.engines.errors import BundleError
from m8d.engines.tensorrt.builder import BuilderOptions, PlanBuilder
from m8d.engines.tensorrt.profiles import AxisRange, Profile, ProfileLimits, stage_profiles
from m8d.engines.tensorrt.targets import Target

FOLDER = "engines"
TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class PlanReport:
    """One line of a build: what was made, of which size, in which time."""

    stage: str
    precision: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A serialised plan and the shape profiles that it was built with, in their order."""

    path: Path
    data: bytes
    profiles: tuple[Profile, ...]


def plan_folder(bundle: Bundle, target: Target, limits: ProfileLimits, options: BuilderOptions) -> Path:
    """`engines/<target>-<version>_sm…_<precisions>_<digest>`; the digest covers graphs, profiles and options."""
    stages = bundle.manifest.stages
    precision = "+".join(sorted({stage.precision for stage in stages.values()}))
    facts = {
        "graphs": {name: _graph_hashes(bundle, name) for name in stages},
        "limits": dataclasses.asdict(limits),
        "options": dataclasses.asdict(options),
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
    """Builds every stage's plan; the folder appears when all are there. Returns it, at once if it exists already.

    Raises:
        BundleError: a stage has integer weights, which TensorRT takes in quantised layers only, or cannot be built.
    """
    integer = sorted({spec.precision for spec in bundle.manifest.stages.values() if spec.precision.startswith("int8")})
    if integer:
        raise BundleError(
            f"{bundle.folder} cannot become plans: received graphs in {' and '.join(integer)}, expected fp32, fp16, "
            f"bf16 or fp16-storage. Build the bundle with another --precision."
        )
    folder = plan_folder(bundle, target, limits, options)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    cache = folder.parent / TIMING_CACHE
    builder = PlanBuilder(target, options, cache.read_bytes() if cache.exists() else b"")
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        for name, spec in bundle.manifest.stages.items():
            profiles = stage_profiles(bundle.manifest, name, limits)
            start = time.perf_counter()
            built = builder.build(bundle.folder / spec.file, spec, profiles)
            (staging / f"{name}.plan").write_bytes(built.plan)
            description = {
                "stage": name,
                "target": dataclasses.asdict(target),
                "precision": spec.precision,
                "graph_sha256": _graph_hashes(bundle, name),
                "plan_sha256": hashlib.sha256(built.plan).hexdigest(),
                "plan_bytes": len(built.plan),
                "profiles": [{axis: dataclasses.asdict(r) for axis, r in profile.items()} for profile in profiles],
                "inputs": [dataclasses.asdict(tensor) for tensor in built.inputs],
                "outputs": [dataclasses.asdict(tensor) for tensor in built.outputs],
            }
            (staging / f"{name}.json").write_text(json.dumps(description, indent=1) + "\n")
            report(PlanReport(name, spec.precision, len(built.plan), time.perf_counter() - start))
        if builder.timing_cache:
            cache.write_bytes(builder.timing_cache)
        staging.chmod(0o755)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def has_plans(bundle: Bundle, target: Target) -> bool:
    """Whether the bundle has plans that were built for `target`, fresh or not."""
    return any(_serves(description, target) for _, description in descriptions(bundle))


def descriptions(bundle: Bundle, stage: str = "*") -> list[tuple[Path, dict[str, Any]]]:
    """The folder and the description of each plan of `stage`, or of all, the last built first."""
    found = []
    for path in (bundle.folder / FOLDER).glob(f"[!.]*/{stage}.json"):
        try:
            found.append((path.stat().st_mtime, path.parent, json.loads(path.read_text())))
        except (OSError, ValueError):
            continue
    return [(folder, values) for _, folder, values in sorted(found, key=lambda item: item[0], reverse=True)]


def read_plan(bundle: Bundle, stage: str, target: Target) -> Plan:
    """The plan of `stage` that runs on `target`, whose one capability is that of the GPU; the last one built.

    Raises:
        BundleError: there is none, the graph has changed since, or the plan is damaged; the text has the command that
            builds it.
    """
    rebuild = rebuild_command(bundle, target)
    for folder, description in descriptions(bundle, stage):
        if not _serves(description, target):
            continue
        if description.get("graph_sha256") != _graph_hashes(bundle, stage):
            raise BundleError(f"The plan of {stage} in {folder} was built from another graph. Remove it. {rebuild}")
        path = folder / f"{stage}.plan"
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != description.get("plan_sha256"):
            raise BundleError(f"The plan of {stage} in {folder} is damaged. Remove {folder}. {rebuild}")
        profiles = tuple({a: AxisRange(**sizes) for a, sizes in p.items()} for p in description["profiles"])
        return Plan(path, data, profiles)
    others = sorted({folder.name for folder, _ in descriptions(bundle)})
    there = f" It has plans for {', '.join(others)}." if others else ""
    raise BundleError(f"The bundle at {bundle.folder} has no plan of {stage} for {target.key}.{there} {rebuild}")


def rebuild_command(bundle: Bundle, target: Target) -> str:
    command = f"m8d-export engines {bundle.folder} --target {target.name}"
    if target.name == "tensorrt-rtx":
        command += "".join(f" --compute-capability {c}" for c in target.capabilities)
    return f"Build it with `{command}`."


def _serves(description: dict[str, Any], target: Target) -> bool:
    built = description.get("target", {})
    return (built.get("name"), built.get("version")) == (target.name, target.version) and set(
        target.capabilities
    ) <= set(built.get("capabilities", ()))


def _graph_hashes(bundle: Bundle, stage: str) -> list[str]:
    spec = bundle.stage(stage)
    return [bundle.manifest.files[file].sha256 for file in (spec.file, spec.data) if file]
