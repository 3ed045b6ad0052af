import json
import os
from pathlib import Path

import numpy as np
import pytest

from m8d.engines.bundle import Bundle
from m8d.export.build import BuildOptions, build
from m8d.models.checkpoint import Checkpoint, write_random_checkpoint
from m8d.models.presets import TOY
from m8d.runtime import Pipeline

GOLDEN = Path(__file__).parent / "golden"
# The C and C++ runtime has to be built before it can be tested: `make cpp` builds it and names its folder.
collect_ignore = [] if "M8D_CPP_BUILD" in os.environ else ["cpp"]
CHECK_SECONDS = 2.0  # the sweep to 30 s belongs to real builds


@pytest.fixture(scope="session")
def goldens() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "tiny" / "goldens.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Checkpoint:
    return Checkpoint(GOLDEN / "tiny" / "checkpoint")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The goldens' checkpoint, built as a user builds."""
    return _built(tiny_checkpoint, tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def odd_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Random weights at the `toy` preset, whose sizes are all odd ones."""
    return Checkpoint(write_random_checkpoint(tmp_path_factory.mktemp("checkpoints") / "odd", TOY, seed=3))


@pytest.fixture(scope="session")
def odd_bundle(odd_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return _built(odd_checkpoint, tmp_path_factory.mktemp("bundles") / "odd")


def partial_vocabulary() -> dict[str, int]:
    """The part of the reference's phone vocabulary that its golden sentences show; phones without an id are dropped."""
    sentences = json.loads((GOLDEN / "g2p.json").read_text(encoding="utf-8"))
    pairs = [([p for p in s["phonemes"].split("|") if p], s["ids"]) for s in sentences]
    known = {phone: i for phones, ids in pairs if len(phones) == len(ids) for phone, i in zip(phones, ids, strict=True)}
    for phones, ids in pairs:
        rest = list(ids)
        for phone in phones:
            if rest and (known.get(phone) == rest[0] or rest[0] not in known.values()):
                known[phone] = rest.pop(0)
    return known


def _built(checkpoint: Checkpoint, output: Path) -> Bundle:
    vocabulary = output.with_name(f"{output.name}-vocabulary.json")
    vocabulary.write_text(json.dumps(partial_vocabulary()), encoding="utf-8")
    build(checkpoint, output, BuildOptions(name=output.name, vocabulary=vocabulary, max_seconds=CHECK_SECONDS))
    return Bundle.open(output)


@pytest.fixture(scope="session")
def tiny_pipeline(tiny_bundle: Bundle) -> Pipeline:
    return Pipeline(tiny_bundle)


@pytest.fixture(scope="session")
def builtin_pipeline() -> Pipeline:
    return Pipeline.load(provider="cpu", threads=1)
