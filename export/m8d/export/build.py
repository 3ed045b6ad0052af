"""Checkpoint → bundle, one stage in memory at a time."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from m8d.engines.bundle import (
    MANIFEST,
    PHONES_FILE,
    Bundle,
    FileRecord,
    Manifest,
    ModelInfo,
    SamplingDefaults,
    SpeakingDefaults,
    StageSpec,
    TensorSpec,
    sha256,
)
from m8d.engines.errors import BundleError
from m8d.export.graph import export_graph
from m8d.export.masked_stages import masked_stages
from m8d.export.parity import StageParity, check_stage
from m8d.export.precision import stage_precision
from m8d.export.stages import ACOUSTIC_SAMPLE_RATE, CODEC_STAGES, FRAME_RATE, HOP, Stage
from m8d.export.vocabulary import read_vocabulary
from m8d.models.checkpoint import Checkpoint
from m8d.models.config import ModelConfig
from m8d.models.errors import CheckpointError
from m8d.models.front_end import MIN_SAMPLES, SAMPLE_RATE

Defaults = TypeVar("Defaults", SamplingDefaults, SpeakingDefaults)
MAX_POSITIONS = 4096  # the longest sequence that S2A and T2S were trained on
INTEGER_TENSORS = (
    *("lengths", "frames", "attention_mask", "semantic_codes", "semantic_codes_euclidean", "acoustic_codes"),
    *("phone_ids", "layer", "codes", "positions", "segments", "rows"),
)


@dataclass(frozen=True)
class BuildOptions:
    name: str = "m8d"
    created_by: str = "m8d"
    provenance: dict[str, str] = field(default_factory=dict)
    notice: str = ""
    with_t2s: bool = True
    vocabulary: Path | None = None  # phone table of text to speech; see `read_vocabulary`
    precision: str = "fp32"  # one of CHOICES; some stages keep more, see `stage_precision`
    max_seconds: float = 30.0  # longest length in the parity check


def all_stages(with_t2s: bool) -> tuple[Stage, ...]:
    names = ("s2a_1layer", "s2a_full", "t2s") if with_t2s else ("s2a_1layer", "s2a_full")
    return (*CODEC_STAGES, *(stage for name in names for stage in masked_stages(name)))


def build(
    checkpoint: Checkpoint,
    output: Path,
    options: BuildOptions,
    report: Callable[[StageParity], None] = lambda parity: None,
) -> list[StageParity]:
    """Exports and checks every stage; `output` appears only when all are there and pass.

    Raises:
        CheckpointError: the checkpoint does not fit its config.
        InputError: the vocabulary cannot be used.
        BundleError: `output` exists, or a stage is off (nothing is written then).
    """
    if output.exists():
        raise BundleError(f"{output} exists already. Remove it or name another --output.")
    stages = all_stages(options.with_t2s)
    sampling, speaking = sampling_defaults(checkpoint.config), speaking_defaults(checkpoint.config)
    phones = None
    if options.with_t2s and options.vocabulary:
        phones = read_vocabulary(options.vocabulary, checkpoint.config.t2s.num_phones)
    checkpoint.check(None if options.with_t2s else [n for s in stages for n in s.weights])
    results: list[StageParity] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    with _staging_folder(output) as folder:
        specs: dict[str, StageSpec] = {}
        loaded: dict[str, nn.Module] = {}
        for i, stage in enumerate(stages):
            module = stage.module(checkpoint, loaded)
            precision = stage_precision(options.precision, stage.name)
            files = export_graph(stage, module, checkpoint.config, folder, precision)
            results.append(check_stage(stage, module, files.graph, checkpoint.config, options.max_seconds, precision))
            report(results[-1])
            specs[stage.name] = StageSpec(
                file=files.graph.name,
                data=files.data.name if files.data else None,
                precision=precision,
                inputs=_tensors(stage.inputs(checkpoint.config)),
                outputs=_tensors(stage.outputs(checkpoint.config)),
            )
            del module
            still_needed = {name for later in stages[i + 1 :] for name in later.weights}
            loaded = {name: value for name, value in loaded.items() if name in still_needed}
        failed = [r.stage for r in results if not r.passed]
        if failed:
            raise BundleError(f"Not built: {', '.join(failed)} computes something else than the checkpoint's module.")
        if phones:
            (folder / PHONES_FILE).write_text(json.dumps(phones, ensure_ascii=False) + "\n", encoding="utf-8")
        manifest = Manifest(
            name=options.name,
            created_by=options.created_by,
            provenance=options.provenance,
            notice=options.notice,
            model=_model_info(checkpoint.config),
            sampling=sampling,
            speaking=speaking,
            stages=specs,
            files={
                path.name: FileRecord(sha256(path), path.stat().st_size)
                for path in sorted(folder.iterdir())
            },
        )  # fmt: skip
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        folder.rename(output)
    return results


def verify(bundle: Bundle, checkpoint: Checkpoint, max_seconds: float = 30.0) -> Iterator[StageParity]:
    """Hashes every file of the bundle, then repeats the parity check stage by stage."""
    bundle.check_files()
    checkpoint.check()
    for stage in all_stages(bundle.has_tts):
        module = stage.module(checkpoint, {})
        spec = bundle.stage(stage.name)
        yield check_stage(stage, module, bundle.folder / spec.file, checkpoint.config, max_seconds, spec.precision)


@contextmanager
def _staging_folder(output: Path) -> Iterator[Path]:
    """A folder beside `output` that is removed unless it was renamed."""
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tensors(axes: dict[str, tuple[str | int, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(k, "int64" if k in INTEGER_TENSORS else "float32", v) for k, v in axes.items())


def _model_info(config: ModelConfig) -> ModelInfo:
    return ModelInfo(
        semantic_sample_rate=SAMPLE_RATE,
        acoustic_sample_rate=ACOUSTIC_SAMPLE_RATE,
        frame_rate=FRAME_RATE,
        hop_size=HOP,
        min_semantic_samples=MIN_SAMPLES,
        feature_dim=config.w2v_bert.hidden_size,
        latent_dim=config.semantic_codec.codebook_dim,
        semantic_codebook_size=config.semantic_codec.codebook_size,
        acoustic_codebook_size=config.acoustic_decoder.codebook_size,
        num_quantizers=config.acoustic_decoder.num_quantizers,
        max_positions=MAX_POSITIONS,
    )


def sampling_defaults(config: ModelConfig) -> SamplingDefaults:
    """Those of the reference wrapper, layers past the second at one step each, but for what config.json says."""
    defaults = SamplingDefaults(
        coarse_steps=40,
        fine_steps=(16, *[1] * (config.acoustic_decoder.num_quantizers - 2)),
        coarse_guidance=0.0,
        fine_guidance=2.5,
        rescale=0.75,
        temperature=1.5,
        top_k_ratio=0.02,
        prompt_seconds=2.0,
        latent_metric="cosine",
    )
    return _with_own(defaults, config.sampling, "sampling")


def speaking_defaults(config: ModelConfig) -> SpeakingDefaults:
    """Those of MaskGCT, but for what config.json says."""
    defaults = SpeakingDefaults(
        steps=25,
        guidance=2.5,
        rescale=0.75,
        temperature=0.9,
        top_k_ratio=0.02,
        s2a_coarse_steps=25,
        s2a_fine_steps=(10, *[1] * (config.acoustic_decoder.num_quantizers - 2)),
        s2a_coarse_guidance=2.5,
        s2a_fine_guidance=2.5,
    )
    return _with_own(defaults, config.speaking, "speaking")


def _with_own(defaults: Defaults, own: dict[str, Any], section: str) -> Defaults:
    try:
        return replace(defaults, **{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()})
    except (AttributeError, TypeError) as error:
        names = ", ".join(f.name for f in fields(defaults))
        raise CheckpointError(f"config.json, {section}: {error}. Expected an object with any of {names}.") from error
