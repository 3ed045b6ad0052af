import os
import subprocess
import sys

import pytest

from m8d.engines.errors import InputError
from m8d.runtime.text import phonemes as module
from m8d.runtime.text.phonemes import clean, merge_english, phonemes


def test_what_cannot_be_said_is_dropped():
    assert phonemes("Hello 😀 [world]* #!", "en") == phonemes("Hello world!", "en")
    assert phonemes("", "en") == phonemes(" 🎉 ... ", "en") == ()


def test_decomposed_letters_are_composed():
    assert phonemes("scho\u0308n", "de") == phonemes("schön", "de")


def test_other_alphabets_are_read():
    assert phonemes("Привет, Ελλάδα", "en")


@pytest.mark.parametrize(
    ("text", "language", "message"),
    [
        ("你好", "en", "does not read: 你好. Chinese and Japanese cannot be spoken"),
        ("안녕", "de", "does not read: 안녕. Use --language ko"),
        ("hi", "zh", "needs the reference's Chinese lexicon"),
        ("hi", "ja", "needs OpenJTalk"),
        ("hi", "klingon", "Unknown language 'klingon': expected one of en, de, fr, ko"),
    ],
)
def test_other_scripts_and_languages_are_refused(text, language, message):
    with pytest.raises(InputError, match=message):
        phonemes(text, language)


def test_clean_keeps_marks_without_spaces():
    assert clean("a ，  b_c — “d” ... e") == "a,b c d…e"


def test_english_phones_are_joined_in_order():
    found = ["t", "ɹ", "iː", "_", "t", "s", "_", "ʔ", "ɹ", "ᵻ", "ɹ", "oː", "ɹ"]
    assert "|".join(merge_english(found)) == "tɹ|iː|_|ts|_|t|ɹ|ɪ|ɹ|oːɹ"


def test_missing_phonemizer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    module._espeak.cache_clear()
    module.phonemes.cache_clear()
    try:
        with pytest.raises(InputError, match=r"pip install m8d\[tts\]"):
            phonemes("hello", "en")
    finally:
        module._espeak.cache_clear()


def test_a_system_without_espeak_uses_the_one_that_is_bundled():
    program = """
from phonemizer.backend.espeak import wrapper
wrapper._find_library = lambda name: None
from m8d.runtime.text.phonemes import espeak_version, phonemes
print("".join(phonemes("hello", "en")), espeak_version())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("həloʊ (1, ")
