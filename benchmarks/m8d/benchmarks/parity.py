"""What smaller precisions change: every stage of a conversion again, fed what the first bundle's stage was fed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from m8d.benchmarks.recording import Call, Recording, record_conversion
from m8d.benchmarks.results import Result, Row
from m8d.engines.bundle import Bundle
from m8d.engines.errors import BundleError
from m8d.engines.session import OnnxRuntimeSession, Session, SessionOptions


def parity(reference: Bundle, others: list[Bundle], seconds: float, prompt: float, threads: int) -> Result:
    """Per stage the largest error (over the largest magnitude) and the share of equal codes; for the masked models the
    share of frames whose likeliest code stays the same, backbone and head together, before any sampling.

    Raises:
        BundleError: a bundle is of another model.
    """
    options = SessionOptions(provider="cpu", threads=threads)
    for other in others:
        if other.manifest.model != reference.manifest.model:
            raise BundleError(f"{other.folder} is of another model than {reference.folder}: nothing to compare.")
    recording = record_conversion(reference, options, seconds, prompt)
    rows: list[Row] = []
    wholes: list[Row] = []
    for other in others:
        for stage in recording.stages:
            session = OnnxRuntimeSession(other, stage, options)
            size = _megabytes(other, stage)
            rows.append({
                "bundle": other.manifest.name, "stage": stage, "precision": other.stage(stage).precision, "MB": size,
                "share of size": size / _megabytes(reference, stage),
                **_compare(session, recording.of(stage)),
            })  # fmt: skip
        whole = record_conversion(other, options, seconds, prompt)
        wholes.append(_whole(other, reference, recording, whole, options))
    figures = {
        f"{row['bundle']}, {key}": row[key] for row in wholes for key in ("share of size", "same likeliest code")
    }
    settings = {"reference": reference.manifest.name, "seconds": seconds, "prompt": prompt, "threads": threads}
    return Result("parity", settings, {"Whole bundles": wholes, "Stages": rows}, figures)


def _megabytes(bundle: Bundle, stage: str) -> float:
    spec = bundle.stage(stage)
    return sum(bundle.manifest.files[name].bytes for name in (spec.file, spec.data) if name) / 1e6


def _compare(session: Session, calls: list[Call]) -> Row:
    error, equal, count = 0.0, 0, 0
    for call in calls:
        for name, got in session.run(call.feeds, list(call.results)).items():
            wanted = call.results[name]
            if wanted.dtype.kind == "i":
                equal, count = equal + int((got == wanted).sum()), count + wanted.size
            else:
                error = max(error, float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30)))
    return {"largest error": error, "equal codes": equal / count if count else None}


def _whole(other: Bundle, reference: Bundle, recording: Recording, whole: Recording, options: SessionOptions) -> Row:
    wanted, got = recording.decoding.acoustic_codes, whole.decoding.acoustic_codes
    size, full_size = (sum(file.bytes for file in b.manifest.files.values()) for b in (other, reference))
    return {
        "bundle": other.manifest.name, "MB": size / 1e6, "share of size": size / full_size,
        "semantic codes": _equal(recording, whole, "semantic_quantizer"),
        "same likeliest code": _same_choice(other, recording, options),
        "first layer, free running": float((got[:, 0] == wanted[:, 0]).mean()),
        "all layers, free running": float((got == wanted).mean()),
    }  # fmt: skip


def _equal(first: Recording, second: Recording, stage: str) -> float:
    """Share of equal integers over all calls of `stage` that both made."""
    shares = [
        (a.results[name] == b.results[name]).mean()
        for a, b in zip(first.of(stage), second.of(stage), strict=True)
        for name in a.results
    ]
    return float(np.mean(shares))


def _same_choice(other: Bundle, recording: Recording, options: SessionOptions) -> float:
    """Backbone and head of `other` on the recorded inputs of every unguided step: is the likeliest code the same?"""
    same = []
    for model in ("s2a_1layer", "s2a_full"):
        backbone, head = (OnnxRuntimeSession(other, f"{model}_{part}", options) for part in ("backbone", "head"))
        for call, following in pairwise(recording.calls):
            if call.stage == f"{model}_backbone" and following.stage == f"{model}_head":
                hidden = backbone.run(call.feeds)["hidden"]
                logits = head.run({**following.feeds, "hidden": hidden})["logits"]
                same.append((logits.argmax(-1) == following.results["logits"].argmax(-1)).ravel())
    return float(np.concatenate(same).mean())
