"""The steps of training in order, each resumable: every step goes on from what its folder holds.

```
WORK/corpus/                       speech, see `corpus`
WORK/{features,latents,codec,s2a_1layer,s2a_full,t2s}/{checkpoint.pt,log.jsonl}
WORK/tokens/                       codes of the corpus
```
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from m8d.models.acoustic_codec import CodecDecoder
from m8d.models.checkpoint import STAGES, STATS_FILE
from m8d.models.config import ModelConfig
from m8d.models.errors import CheckpointError
from m8d.models.rep_codec import RepCodec
from m8d.models.training.codec import CodecTrainer, Freezing
from m8d.models.training.data import Recordings
from m8d.models.training.loop import Loop, LoopOptions, Trainer
from m8d.models.training.phones import vocabulary
from m8d.models.training.probe import UTTERANCES, speaker_probe
from m8d.models.training.s2a import Codebooks, S2ATrainer
from m8d.models.training.semantics import (
    FeatureStatistics,
    FeatureTrainer,
    LatentTrainer,
    Listener,
    PhoneBatches,
    feature_statistics,
)
from m8d.models.training.sizes import SMALL
from m8d.models.training.t2s import Spoken, T2STrainer
from m8d.models.training.tokens import Encoders, Tokens, tokenise
from m8d.models.w2v_bert import W2VBert

MIN_SECONDS = 2.5  # of training recordings
VOCABULARY = "vocabulary.json"  # for `m8d-export build --vocabulary`
HELD_OUT = ("seen", "unseen")
STEPS = ("features", "latents", "codec", "s2a_1layer", "s2a_full", "t2s")


@dataclass(frozen=True)
class Recipe:
    work: Path
    config: ModelConfig = SMALL
    options: LoopOptions = field(default_factory=LoopOptions)
    unquantised_latents: int = 400  # steps
    unquantised_codec: int = 2500  # steps
    freezing: Freezing = field(default_factory=Freezing)

    def recordings(self, split: str) -> Recordings:
        return Recordings(self.work / "corpus", split, MIN_SECONDS if split == "train" else 0.0)

    def held_out(self) -> dict[str, Recordings]:
        return {split: self.recordings(split) for split in HELD_OUT}

    def train(self, step: str, minutes: float | None = None) -> None:
        """Trains `step` (one of `STEPS`) until it has had `minutes` in all."""
        options = self.options if minutes is None else dataclasses.replace(self.options, minutes=minutes)
        if self.progress().get(step, {}).get("minutes", 0) >= options.minutes:
            return
        torch.manual_seed(self.options.seed)
        trainer = {
            "features": self._features,
            "latents": self._latents,
            "codec": self._codec,
            "s2a_1layer": self._s2a_1layer,
            "s2a_full": self._s2a_full,
            "t2s": self._t2s,
        }[step]()
        Loop(trainer, self.work / step, options).run()

    def _features(self) -> Trainer:
        return FeatureTrainer(self.config, PhoneBatches(self.recordings("train")), self.held_out())

    def _latents(self) -> Trainer:
        train, model = self.recordings("train"), self.w2v_bert()
        return LatentTrainer(self.config, model, feature_statistics(model, train), PhoneBatches(train), self.held_out(),
                             unquantised=self.unquantised_latents)  # fmt: skip

    def _codec(self) -> Trainer:
        listener = Listener(self.w2v_bert(), self.statistics())
        return CodecTrainer(self.config, self.recordings("train"), self.held_out(), listener, self.freezing,
                            self.unquantised_codec)  # fmt: skip

    def _s2a_1layer(self) -> Trainer:
        return S2ATrainer(self.config.s2a_1layer, self.tokens("train"), self._held_out_tokens(), self.codebooks())

    def _s2a_full(self) -> Trainer:
        return S2ATrainer(self.config.s2a_full, self.tokens("train"), self._held_out_tokens(), self.codebooks())

    def _t2s(self) -> Trainer:
        held_out = {split: self.spoken(split) for split in HELD_OUT}
        return T2STrainer(self.config.t2s, self.spoken("train"), held_out, self.codebooks().semantic)

    def _held_out_tokens(self) -> dict[str, Tokens]:
        return {split: self.tokens(split) for split in HELD_OUT}

    def trained(self, step: str, name: str, module: nn.Module) -> nn.Module:
        """`module` with the averaged weights that `step` has for it under `name`."""
        path = self.work / step / "checkpoint.pt"
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Run the training step {step!r} first.")
        average = torch.load(path, map_location="cpu", weights_only=True)["average"]
        module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in average.items() if k.startswith(f"{name}.")})
        return module.eval().requires_grad_(False)

    def stage(self, name: str) -> nn.Module:
        """The trained module of a checkpoint stage, a key of `checkpoint.STAGES`."""
        step, key = {
            "w2v_bert": ("features", "w2v_bert"),
            "semantic_codec": ("latents", "semantic_codec"),
            "acoustic_encoder": ("codec", "encoder"),
            "acoustic_decoder": ("codec", "decoder"),
            "s2a_1layer": ("s2a_1layer", "s2a_1layer"),
            "s2a_full": ("s2a_full", "s2a_full"),
            "t2s": ("t2s", "t2s"),
        }[name]
        return self.trained(step, key, STAGES[name].build(self.config))

    def w2v_bert(self) -> W2VBert:
        model = self.stage("w2v_bert")
        assert isinstance(model, W2VBert)
        return model

    def statistics(self) -> FeatureStatistics:
        statistics = self.trained("latents", "statistics", FeatureStatistics(self.config.w2v_bert.hidden_size))
        assert isinstance(statistics, FeatureStatistics)
        return statistics

    def tokens(self, split: str) -> Tokens:
        return tokenise(self.recordings(split), self.encoders(), self.work / "tokens")

    def spoken(self, split: str) -> Spoken:
        recordings = self.recordings(split)
        return Spoken(recordings, self.encoders().semantic_codes(recordings, self.work / "tokens"))

    def encoders(self) -> Encoders:
        return Encoders(self.w2v_bert(), self.statistics(), self.stage("semantic_codec"),
                        self.stage("acoustic_encoder"), self.stage("acoustic_decoder").quantizer)  # fmt: skip

    def codebooks(self) -> Codebooks:
        semantic, acoustic = self.stage("semantic_codec"), self.stage("acoustic_decoder")
        assert isinstance(semantic, RepCodec)
        assert isinstance(acoustic, CodecDecoder)
        every = torch.arange(self.config.acoustic_decoder.codebook_size)[None]
        return Codebooks(
            torch.nn.functional.normalize(semantic.vector_quantizer.codebook.weight, dim=-1),
            [quantizer.embed(every)[0].T for quantizer in acoustic.quantizer.quantizers],
        )

    def probe(self, utterances: tuple[int, int] = UTTERANCES) -> dict[str, float]:
        """See `speaker_probe`."""
        codec = self.stage("semantic_codec")
        assert isinstance(codec, RepCodec)
        return speaker_probe(self.recordings("train"), self.w2v_bert(), self.statistics(), codec, utterances)

    def progress(self) -> dict[str, dict[str, float]]:
        """Steps and minutes that each training step has had."""
        figures = {}
        for step in STEPS:
            path = self.work / step / "checkpoint.pt"
            if path.exists():
                state = torch.load(path, map_location="cpu", weights_only=True)
                figures[step] = {"steps": state["step"], "minutes": round(state["seconds"] / 60, 1)}
        return figures

    def package(self, output: Path) -> list[str]:
        """Writes the checkpoint in FP16 in the published layout; returns the stages left at random weights."""
        if output.exists():
            raise CheckpointError(f"{output} exists already. Remove it or name another --output.")
        staging = output.with_name(output.name + ".part")
        self.config.write(staging)
        untrained = []
        for name, stage in STAGES.items():
            try:
                module = self.stage(name)
            except CheckpointError:
                torch.manual_seed(0)
                module = stage.build(self.config)
                untrained.append(name)
            path = staging / stage.path
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({k: v.half().contiguous() for k, v in module.state_dict().items()}, path)
        torch.save(dict(self.statistics().state_dict()), staging / STATS_FILE)
        card = {"progress": self.progress(), "untrained": untrained}
        (staging / VOCABULARY).write_text(json.dumps(vocabulary(), ensure_ascii=False) + "\n", encoding="utf-8")
        (staging / "training.json").write_text(json.dumps(card, indent=2) + "\n")
        staging.rename(output)
        return untrained
