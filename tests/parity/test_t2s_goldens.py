"""Text to speech against the reference: phonemes, phone ids and semantic codes."""

import json

import numpy as np
import pytest

from conftest import GOLDEN, partial_vocabulary
from m8d.runtime.decoder import Voice
from m8d.runtime.speaker import Prompt, SpeakingOptions
from m8d.runtime.text.phonemes import espeak_version, phonemes
from m8d.runtime.text.vocabulary import PhoneVocabulary

SENTENCES = json.loads((GOLDEN / "g2p.json").read_text(encoding="utf-8"))
MORE = json.loads((GOLDEN / "phonemes.json").read_text(encoding="utf-8"))
# espeak-ng 1.52 says "thirty-four" with another r-coloured vowel.
CHANGED_IN_1_52 = {"In 1999 we had 1,234 users; by 2007, 20%."}


@pytest.mark.parametrize("sentence", SENTENCES + MORE, ids=lambda s: f"{s['language']}-{s['text'][:24]}")
def test_phonemes(sentence):
    expected = [phone for phone in sentence["phonemes"].split("|") if phone]
    received = list(phonemes(sentence["text"], sentence["language"]))
    if espeak_version() >= (1, 52) and sentence["text"] in CHANGED_IN_1_52:
        expected = [phone.replace("oːɹ", "ɔːɹ") for phone in expected]
    assert received == expected


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda s: f"{s['language']}-{s['text'][:24]}")
def test_phone_ids(sentence):
    phones = [phone for phone in sentence["phonemes"].split("|") if phone]
    assert PhoneVocabulary(partial_vocabulary()).encode(phones).tolist() == sentence["ids"]


def test_semantic_codes(tiny_pipeline, goldens):
    """The golden has one sequence of phones; where the prompt's phones end makes no difference to the model."""
    reference = goldens["reference.semantic_codes"][0]
    phones = goldens["t2s.phone_ids"][0]
    voice = Voice(reference, np.zeros((len(reference), 12), np.int64))
    steps = []
    codes = tiny_pipeline.speaker.semantic_codes(
        phones[10:], Prompt(voice, phones[:10]), 40, SpeakingOptions(), 7, steps.append
    )
    assert (codes == goldens["t2s.semantic_codes"][0]).mean() >= 0.99
    assert sum(steps) == 25


def test_phones_and_guidance_matter(tiny_pipeline, goldens):
    reference = goldens["reference.semantic_codes"][0]
    phones = goldens["t2s.phone_ids"][0]
    prompt = Prompt(Voice(reference, np.zeros((len(reference), 12), np.int64)), phones[:10])

    def codes(phone_ids, guidance):
        options = SpeakingOptions(guidance=guidance)
        return tiny_pipeline.speaker.semantic_codes(phone_ids, prompt, 40, options, 7, lambda done: None)

    usual = codes(phones[10:], 2.5)
    assert (usual != codes(phones[10:][::-1], 2.5)).any()
    assert (usual != codes(phones[10:], 0.0)).any()
