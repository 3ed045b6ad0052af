"""The bundle: a folder with a manifest `m8d.json` and the files it names. Specified in docs/bundle-format.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from m8d.engines.errors import BundleError

FORMAT = "m8d-bundle"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, FORMAT_VERSION)  # the first knew no durations of phones
MANIFEST = "m8d.json"
PHONES_FILE = "phones.json"  # phone → id, in bundles that speak text
DTYPES = ("float32", "int64")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp16-storage", "int8-storage")
# Hashing gigabytes would take longer than loading them, so larger files are hashed by `verify` only.
HASHED_ON_LOAD = 64 * 2**20  # bytes

# Stages that every bundle has; a text-to-speech bundle has TTS_STAGES too.
STAGES = (
    "front_end",
    "w2v_bert",
    "semantic_encoder",
    "semantic_quantizer",
    "acoustic_encoder",
    "s2a_1layer_condition",
    "s2a_1layer_backbone",
    "s2a_1layer_head",
    "s2a_full_condition",
    "s2a_full_backbone",
    "s2a_full_head",
    "guidance",
    "acoustic_decoder",
)
TTS_STAGES = ("t2s_condition", "t2s_backbone", "t2s_head")

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `shape` has a number for each fixed axis and a letter for each that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class StageSpec:
    file: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    data: str | None = None  # external weights, where the graph file does not hold them


@dataclass(frozen=True)
class FileRecord:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """Sizes and rates that a program needs around the graphs."""

    semantic_sample_rate: int  # Hz
    acoustic_sample_rate: int  # Hz
    frame_rate: int  # Hz
    hop_size: int  # samples at the acoustic rate
    min_semantic_samples: int  # the front end's shortest input, at the semantic rate
    feature_dim: int
    latent_dim: int
    semantic_codebook_size: int
    acoustic_codebook_size: int
    num_quantizers: int
    max_positions: int  # prompt and target frames together


@dataclass(frozen=True)
class SamplingDefaults:
    """What the runtime uses where the caller says nothing; the same fields as its sampling options."""

    coarse_steps: int
    fine_steps: tuple[int, ...]
    coarse_guidance: float
    fine_guidance: float
    rescale: float
    temperature: float
    top_k_ratio: float
    prompt_seconds: float
    latent_metric: str


@dataclass(frozen=True)
class SpeakingDefaults:
    """Text to speech where the caller says nothing: sampling of T2S, and what then changes in that of S2A."""

    steps: int
    guidance: float
    rescale: float
    temperature: float
    top_k_ratio: float
    s2a_coarse_steps: int
    s2a_fine_steps: tuple[int, ...]
    s2a_coarse_guidance: float
    s2a_fine_guidance: float


@dataclass(frozen=True)
class Manifest:
    name: str
    created_by: str
    provenance: dict[str, str]
    model: ModelInfo
    sampling: SamplingDefaults
    speaking: SpeakingDefaults
    stages: dict[str, StageSpec]
    files: dict[str, FileRecord]
    notice: str = ""  # one line that a runtime prints when it uses the bundle
    format: str = field(default=FORMAT)
    format_version: int = field(default=FORMAT_VERSION)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = MANIFEST) -> Manifest:
        """Parses and validates; `BundleError` names `origin` and the field that is wrong."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise BundleError(f"{origin} is not JSON ({error}). Rebuild the bundle with `m8d-export build`.") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise BundleError(f'{origin} is no bundle manifest: expected "format": "{FORMAT}".')
        if values.get("format_version") not in READABLE_VERSIONS:
            raise BundleError(
                f"{origin} has format_version {values.get('format_version')!r}, this m8d reads "
                f"{' and '.join(map(str, READABLE_VERSIONS))}. Rebuild the bundle, or install the m8d that made it."
            )
        parse = _Parser(origin)
        return cls(
            name=parse.value(values, "name", str),
            created_by=parse.value(values, "created_by", str),
            provenance=parse.value(values, "provenance", dict),
            notice=parse.value(values, "notice", str),
            model=parse.record(parse.value(values, "model", dict), ModelInfo, "model"),
            sampling=parse.record(parse.value(values, "sampling", dict), SamplingDefaults, "sampling"),
            speaking=parse.record(parse.value(values, "speaking", dict), SpeakingDefaults, "speaking"),
            stages={k: parse.stage(v, k) for k, v in parse.value(values, "stages", dict).items()},
            files={k: parse.record(v, FileRecord, f"files.{k}") for k, v in parse.value(values, "files", dict).items()},
        )


class _Parser:
    def __init__(self, origin: str) -> None:
        self.origin = origin

    def fail(self, what: str) -> BundleError:
        return BundleError(f"{self.origin}: {what}. Rebuild the bundle with `m8d-export build`.")

    def value(self, values: Any, key: str, kind: type[T], where: str = "") -> T:
        path = f"{where}.{key}" if where else key
        if not isinstance(values, dict) or key not in values:
            raise self.fail(f"{path} is missing")
        value = values[key]
        if kind is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(f"{path} is {value!r}, expected {kind.__name__}")
        return value

    def record(self, values: Any, kind: type[T], where: str) -> T:
        """A dataclass of plain fields, each of the type that its annotation names."""
        kinds = {"int": int, "float": float, "str": str, "tuple[int, ...]": list}
        fields = {}
        for f in dataclasses.fields(kind):  # type: ignore[arg-type]
            value = self.value(values, f.name, kinds[str(f.type)], where)
            fields[f.name] = tuple(value) if isinstance(value, list) else value
        return kind(**fields)

    def stage(self, values: Any, name: str) -> StageSpec:
        where = f"stages.{name}"
        precision = self.value(values, "precision", str, where)
        if precision not in PRECISIONS:
            raise self.fail(f"{where}.precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
        data = values.get("data")
        if data is not None and not isinstance(data, str):
            raise self.fail(f"{where}.data is {data!r}, expected a file name or null")
        return StageSpec(
            file=self.value(values, "file", str, where),
            data=data,
            precision=precision,
            inputs=self.tensors(values, "inputs", where),
            outputs=self.tensors(values, "outputs", where),
        )

    def tensors(self, values: Any, key: str, where: str) -> tuple[TensorSpec, ...]:
        specs = []
        for i, item in enumerate(self.value(values, key, list, where)):
            path = f"{where}.{key}[{i}]"
            dtype = self.value(item, "dtype", str, path)
            shape = self.value(item, "shape", list, path)
            if dtype not in DTYPES:
                raise self.fail(f"{path}.dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
            if not all(isinstance(axis, int | str) for axis in shape):
                raise self.fail(f"{path}.shape is {shape!r}, expected numbers and axis letters")
            specs.append(TensorSpec(self.value(item, "name", str, path), dtype, tuple(shape)))
        return tuple(specs)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the folder exists, the manifest is valid, every file is there in its size."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Raises `BundleError` when the bundle cannot be used. Files up to 64 MiB are hashed, larger ones measured."""
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise BundleError(
                f"No bundle at {folder}: expected a folder with {MANIFEST}. Make one with `m8d-export build --output`."
            )
        bundle = cls(folder, Manifest.from_json(path.read_text(encoding="utf-8"), str(path)))
        bundle._check_stages()
        bundle.check_files(hash_up_to=HASHED_ON_LOAD)
        return bundle

    def _check_stages(self) -> None:
        stages = self.manifest.stages
        missing = [name for name in STAGES if name not in stages]
        if self.has_tts:
            missing += [name for name in TTS_STAGES if name not in stages]
        if missing:
            raise BundleError(f"The bundle at {self.folder} has no stage {', '.join(missing)}. Rebuild it.")
        for name, stage in stages.items():
            for file in filter(None, (stage.file, stage.data)):
                if file not in self.manifest.files:
                    raise BundleError(
                        f"The bundle at {self.folder}: stage {name} names {file}, files does not list it."
                    )

    def check_files(self, hash_up_to: float = float("inf")) -> None:
        """Compares each file's size, and sha256 for files of at most `hash_up_to` bytes, with the manifest."""
        root = self.folder.resolve()
        for name, record in self.manifest.files.items():
            path = self.folder / name
            if not path.resolve().is_relative_to(root):
                raise BundleError(f"The bundle at {self.folder} names a file outside itself: {name}.")
            if not path.is_file():
                raise BundleError(f"The bundle at {self.folder} lacks {name}. Copy it again, or rebuild the bundle.")
            size = path.stat().st_size
            if size != record.bytes:
                raise BundleError(
                    f"{path} has {size} bytes, the manifest says {record.bytes}. Copy it again, or rebuild the bundle."
                )
            if size <= hash_up_to and sha256(path) != record.sha256:
                raise BundleError(f"{path} is damaged: its sha256 is not the manifest's. Copy it again, or rebuild.")

    @property
    def has_tts(self) -> bool:
        return any(name in self.manifest.stages for name in TTS_STAGES)

    @property
    def speaks(self) -> bool:
        """Whether it has text to speech and the phone table that this needs."""
        return self.has_tts and PHONES_FILE in self.manifest.files

    def stage(self, name: str) -> StageSpec:
        if name not in self.manifest.stages:
            raise BundleError(
                f"The bundle at {self.folder} has no stage {name}; it has {', '.join(self.manifest.stages)}."
            )
        return self.manifest.stages[name]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
