"""A bundle in words, for people."""

from __future__ import annotations

from m8d.engines.bundle import Bundle, TensorSpec


def summary(bundle: Bundle) -> str:
    """Name, origin, sizes, and for each stage its file, precision, inputs, outputs and the start of its hash."""
    manifest = bundle.manifest
    model, total = manifest.model, sum(record.bytes for record in manifest.files.values())
    lines = [
        f"{manifest.name}  {megabytes(total)}  {bundle.folder}",
        f"made by {manifest.created_by}" + "".join(f", {k}: {v}" for k, v in manifest.provenance.items()),
        f"{model.latent_dim}-D latents at {model.frame_rate} Hz, {model.semantic_codebook_size} semantic codes, "
        f"{model.num_quantizers} x {model.acoustic_codebook_size} acoustic codes, {model.acoustic_sample_rate} Hz out",
        "",
    ]
    if manifest.notice:
        lines.insert(1, manifest.notice)
    for name, stage in manifest.stages.items():
        files = [file for file in (stage.file, stage.data) if file]
        size = sum(manifest.files[file].bytes for file in files)
        lines.append(
            f"{name:22} {stage.precision:12} {megabytes(size):>10}  {manifest.files[stage.file].sha256[:12]}  "
            f"{' '.join(files)}"
        )
        lines.append(f"{'':24}{_tensors(stage.inputs)} -> {_tensors(stage.outputs)}")
    return "\n".join(lines)


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _tensors(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{s.name} ({', '.join(map(str, s.shape))})" for s in specs)
