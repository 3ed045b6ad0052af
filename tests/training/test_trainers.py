"""Each trainer takes steps, its loss falls, and a run in two pieces equals a run in one."""

import dataclasses
import json
import random

import numpy as np
import pytest
import torch

from m8d.models.checkpoint import Checkpoint
from m8d.models.quantizer import ResidualVQ
from m8d.models.training import corpus
from m8d.models.training.codec import Freezing, initialise_residual, quantise
from m8d.models.training.loop import Loop
from m8d.models.training.phones import PHONE_ID, as_read, vocabulary
from m8d.models.training.probe import probe_accuracy
from m8d.models.training.recipe import STEPS
from m8d.models.training.s2a import near_codes
from m8d.models.training.sizes import SMALL
from m8d.runtime.text.phonemes import phonemes

LENGTHS = {"features": 30, "latents": 24, "codec": 12, "s2a_1layer": 30, "s2a_full": 30, "t2s": 30}


def with_steps(recipe, steps):
    return dataclasses.replace(recipe, options=dataclasses.replace(recipe.options, steps=steps))


@pytest.fixture(scope="module")
def trained(recipe):
    for step in STEPS:
        with_steps(recipe, LENGTHS[step]).train(step)
    return recipe


def trainer_losses(recipe, step):
    """Mean loss of the same four batches before and after training."""
    torch.manual_seed(0)
    trainer = getattr(recipe, f"_{step}")()
    fresh = {k: v.clone() for k, v in trainer.modules.state_dict().items()}
    Loop(trainer, recipe.work / step, recipe.options)
    number = 0 if step in ("latents", "codec") else LENGTHS[step]

    def mean():
        with torch.no_grad():
            return np.mean([float(trainer.loss(number, np.random.default_rng([9, i]))[0]) for i in range(4)])

    after = mean()
    trainer.modules.load_state_dict(fresh)
    return mean(), after


@pytest.mark.parametrize("step", STEPS)
def test_loss_falls(trained, step):
    before, after = trainer_losses(trained, step)
    assert after < 0.97 * before


def test_log_is_json_lines_of_held_out_figures(trained):
    for step in STEPS:
        last = json.loads((trained.work / step / "log.jsonl").read_text().splitlines()[-1])
        assert last["step"] == LENGTHS[step]
        assert any(key.startswith("eval/") and key.endswith("_unseen") for key in last)


@pytest.mark.parametrize("step", ["latents", "codec", "s2a_1layer"])
def test_resumed_run_equals_unbroken_run(trained, tmp_path, step):
    """Across the step at which codebooks are initialised, too."""
    states = {}
    for name, pieces in {"whole": [6], "pieces": [3, 6]}.items():
        for steps in pieces:
            torch.manual_seed(len(name) + steps)  # what differs between processes must not matter after a resume
            if steps == pieces[0]:
                torch.manual_seed(0)
            options = dataclasses.replace(trained.options, steps=steps)
            Loop(getattr(trained, f"_{step}")(), tmp_path / name, options).run()
        states[name] = torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
    for part in ("modules", "average"):
        whole, pieces = states["whole"][part], states["pieces"][part]
        assert all(torch.equal(whole[key], pieces[key]) for key in whole)


@pytest.mark.parametrize("freezing", [Freezing(codes_at=5), Freezing(4, 5)])
def test_frozen_codes_are_those_of_the_averaged_encoder(trained, tmp_path, freezing):
    """So that S2A, which learns from them, can begin while the decoder goes on learning."""
    recipe = dataclasses.replace(trained, freezing=freezing, unquantised_codec=2)
    states = []
    for steps in (5, 6, 9):
        torch.manual_seed(0)
        Loop(recipe._codec(), tmp_path, dataclasses.replace(trained.options, steps=steps)).run()
        states.append(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    codes = [key for key in states[0]["average"] if key.startswith(("encoder.", "decoder.quantizer."))]
    for later in states[1:]:
        assert all(
            torch.equal(later[part][key], states[0]["average"][key]) for key in codes for part in ("modules", "average")
        )
    moved = [key for key in states[0]["modules"] if key.startswith("decoder.model.")]
    assert any(not torch.equal(states[1]["modules"][key], states[2]["modules"][key]) for key in moved)


def test_phones_are_placed_where_they_are_heard(trained):
    """Of an utterance and of its prompt, whose frames come first."""
    trainer, chance = trained._t2s(), np.random.default_rng(0)
    items = [trainer.item(trainer.train, i, chance) for i in range(len(trainer.train.codes)) for _ in range(4)]
    assert {item.prompt == (0, 0) for item in items if len(item.phones)} == {True, False}
    for item in items:
        assert torch.equal(item.spoken[item.middles], torch.arange(len(item.phones)))
        before, prompt = item.prompt
        assert (item.middles[:before] < prompt).all()
        assert (item.middles[before:] >= prompt).all()


def test_bfloat16_is_nearly_the_same_step(trained, tmp_path):
    losses = {}
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        options = dataclasses.replace(trained.options, bfloat16=bfloat16)
        losses[bfloat16] = Loop(trained._t2s(), tmp_path / str(bfloat16), options).take_step()["loss"]
    assert losses[True] != losses[False]
    assert losses[True] == pytest.approx(losses[False], rel=0.02)


def test_package_is_a_valid_checkpoint(trained, tmp_path):
    assert trained.package(tmp_path / "checkpoint") == []
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    checkpoint.check()
    weights = trained.stage("acoustic_encoder").state_dict()["block.0.bias"]
    torch.testing.assert_close(checkpoint.load("acoustic_encoder").block[0].bias, weights, atol=1e-3, rtol=1e-3)


def test_untrained_stages_are_named(trained, tmp_path):
    (tmp_path / "corpus").symlink_to(trained.work / "corpus")
    for step in ("features", "latents", "codec", "s2a_1layer"):
        (tmp_path / step).symlink_to(trained.work / step)
    half = dataclasses.replace(trained, work=tmp_path)
    assert half.package(tmp_path / "checkpoint") == ["s2a_full", "t2s"]


def test_tokens_follow_the_encoders(trained):
    tokens = trained.tokens("seen")
    assert [len(t) for t in tokens.semantic] == [len(t) for t in tokens.acoustic]
    assert tokens.acoustic[0].shape[1] == trained.config.acoustic_decoder.num_quantizers
    kinds = [folder.name.split("-")[0] for folder in (trained.work / "tokens").iterdir()]
    assert sorted(kinds) == ["acoustic", "semantic"]


def test_targets_favour_codes_that_sound_alike():
    torch.manual_seed(0)
    table = torch.randn(30, 4)
    weights = near_codes(table)
    torch.testing.assert_close(weights.sum(-1), torch.ones(30))
    assert float(weights.diagonal().mean()) == pytest.approx(0.6, abs=1e-3)
    others = torch.cdist(table, table).fill_diagonal_(torch.inf)
    assert torch.equal(weights.fill_diagonal_(0).argmax(-1), others.argmin(-1))


def test_residual_quantisers_start_useful():
    torch.manual_seed(0)
    residual = ResidualVQ(20, 3, 32, 8)
    x = torch.randn(1, 20, 20) @ torch.randn(1, 20, 20).mul(torch.linspace(2, 0.1, 20)) @ torch.randn(20, 2000)
    x = x / x.std()
    with torch.no_grad():
        initialise_residual(residual, x)
        errors = [(quantise(residual, x, layers)[0] - x).square().mean() for layers in (1, 2, 3)]
        codes = residual.encode(x)
    assert errors[0] < 0.7
    assert errors[0] > errors[1] > errors[2]
    torch.testing.assert_close(residual.embed(codes), quantise(residual, x, 3)[0], atol=1e-4, rtol=1e-4)
    assert all(len(codes[..., layer].unique()) > 28 for layer in range(3))


def test_held_out_speakers_and_sentences_are_disjoint():
    words = ["river", "garden", "window", "people", "morning", "letter", "yellow"]
    chance = random.Random(0)
    sentences = sorted({" ".join(chance.choice(words) for _ in range(6)).capitalize() + "." for _ in range(2000)})
    plans = list(corpus.plan_corpus(sentences, seed=3, scale=0.07))
    by_split = {split: [plan for plan in plans if plan.split == split] for split in corpus.SPLITS}
    texts = {split: {plan.text for plan in part} for split, part in by_split.items()}
    assert not texts["train"] & (texts["seen"] | texts["unseen"])
    voices = {split: {(p.speaker.engine, p.speaker.voice) for p in part} for split, part in by_split.items()}
    assert voices["seen"] <= voices["train"]
    assert not voices["unseen"] & voices["train"]
    assert plans == list(corpus.plan_corpus(sentences, seed=3, scale=0.07))
    assert plans != list(corpus.plan_corpus(sentences, seed=4, scale=0.07))
    assert len({plan.id for plan in plans}) == len(plans)


def test_resampling_moves_the_phones_with_the_sound():
    from m8d.models.training.voices import Speech

    tone = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000).astype(np.float32)
    pcm, phones = corpus.render(Speech(tone, 16000, (("aa", 0.5), ("iy", 1.0))), formant=1.25)
    assert len(pcm) == pytest.approx(24000 / 1.25, abs=2)
    assert phones == (("aa", 0.4), ("iy", 0.8))
    peak = np.abs(np.fft.rfft(pcm)).argmax() * 24000 / len(pcm)
    assert peak == pytest.approx(550, abs=3)


def test_probe_tells_what_a_line_can_separate():
    torch.manual_seed(0)
    labels = torch.arange(400) % 4
    hidden = torch.randn(400, 6)
    told = hidden + 5 * torch.eye(6)[labels]
    assert probe_accuracy((told[:300], labels[:300]), (told[300:], labels[300:]), 4) > 0.95
    assert probe_accuracy((hidden[:300], labels[:300]), (hidden[300:], labels[300:]), 4) < 0.45


def test_probe_of_trained_encoders(trained):
    figures = trained.probe((2, 2))
    assert figures["speakers"] == 1 / figures["chance"] == 2
    assert all(
        0 <= figures[f"{kind} per {unit}"] <= 1 for kind in ("features", "latents") for unit in ("frame", "utterance")
    )
    with pytest.raises(ValueError, match="18 utterances"):
        trained.probe()


def test_text_is_read_with_the_phones_that_were_spoken():
    table = vocabulary()
    names = ("sil", "t", "r", "iy", "sil", "k", "aa", "r", "sil")
    spoken = [(PHONE_ID[name], float(end)) for end, name in enumerate(names)]
    chance = np.random.default_rng(0)
    versions = [as_read(spoken, chance) for _ in range(50)]
    assert [end for _, end in min(versions, key=len)] == [2, 3, 4, 5, 7, 8]  # a pair ends where its second phone does
    read = [[phone for phone, _ in version] for version in versions]
    assert [table[symbol] for symbol in ("tɹ", "iː", ",", "k", "ɑːɹ", ".")] in read
    assert [table[symbol] for symbol in ("t", "ɹ", "iː", ",", "k", "ɑː", "ɹ", ".")] in read
    assert max(table.values()) < SMALL.t2s.num_phones


def test_every_english_phoneme_has_a_phone():
    text = "The quick brown fox, jumping over a lazy dog? Beige thrones; a fire, real cure, her bird's dry dream: toys!"
    missing = {phone for phone in phonemes(text, "en") if phone not in vocabulary()}
    assert missing <= {"_", "'"}
