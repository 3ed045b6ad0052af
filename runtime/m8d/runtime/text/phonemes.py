"""Text → phonemes, through espeak-ng.

Checked against espeak-ng 1.51; the version counts, since it decides the phonemes.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from m8d.engines.errors import InputError
from m8d.runtime.text.english import normalise_english
from m8d.runtime.text.european import FRENCH, GERMAN
from m8d.runtime.text.korean import normalise_korean

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

WORD_BREAK = "_"
MARKS = ",.?!;:'…"  # read as pauses; all other punctuation is dropped
LATIN_MARKS = {
    "，": ",", "。": ".", "！": "!", "？": "?", "；": ";", "：": ":", "、": ",", "‘": "'", "’": "'",
    "⋯": "…", "···": "…", "・・・": "…", "...": "…",
}  # fmt: skip
SPOKEN = re.compile(r"[^\W_]")
HAN_OR_KANA = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")

# English phones that the reference joins, in its order, and single ones that it renames.
JOINED = (("t", "ɹ"), ("d", "ɹ"), ("t", "s"), ("d", "z"), ("ɪ", "ɹ"))
RENAMED = {"ɐ": "ɚ", "ᵻ": "ɪ", "əl": "l", "x": "k", "ɬ": "l", "ʔ": "t", "n̩": "n"}
JOINED_LAST = (("oː", "ɹ"),)


@dataclass(frozen=True)
class Language:
    """`voice` is espeak's name of it, `normalise` makes words of what is not one."""

    voice: str
    normalise: Callable[[str], str]
    other_scripts: re.Pattern[str]  # what espeak cannot read in it


LANGUAGES = {
    "en": Language("en-us", normalise_english, re.compile(f"{HAN_OR_KANA.pattern}|{HANGUL.pattern}")),
    "de": Language("de", GERMAN.normalise, re.compile(f"{HAN_OR_KANA.pattern}|{HANGUL.pattern}")),
    "fr": Language("fr-fr", FRENCH.normalise, re.compile(f"{HAN_OR_KANA.pattern}|{HANGUL.pattern}")),
    "ko": Language("ko", normalise_korean, re.compile("[\u3040-\u30ff]")),  # Han are Hanja here
}
# Other phonemes than those the model was trained on would give wrong speech, so there is no substitute.
MISSING = {
    "zh": "the reference's Chinese lexicon and its model of characters with several readings, which no package carries",
    "ja": "OpenJTalk with its dictionary, which pyopenjtalk compiles and downloads when it is installed",
}


@lru_cache(maxsize=4096)
def phonemes(text: str, language: str) -> tuple[str, ...]:
    """The phonemes of `text` in IPA, `_` between words, punctuation marks as they are; none where nothing can be said.

    Follows the reference's text front end, phoneme for phoneme (see `text/english.py` for what it gets wrong).

    Args:
        text: any length; what cannot be said (emoji, brackets, …) is dropped.
        language: `en`, `de`, `fr` or `ko`.

    Raises:
        InputError: another language, or a script that it does not cover.
        InputError: phonemizer or espeak-ng is not installed.
    """
    known = language_of(language)
    text = unicodedata.normalize("NFC", text)
    foreign = known.other_scripts.findall(text)
    if foreign:
        raise InputError(
            f"The text holds characters that language {language!r} does not read: {''.join(foreign[:8])}. "
            f"{_remedy(foreign[0])}"
        )
    cleaned = clean(known.normalise(text))
    if not SPOKEN.search(cleaned):
        return ()
    line = _espeak(known.voice).phonemize([cleaned], separator=_separator(), strip=True)[0]
    found = [p for p in re.split(rf"\||([{re.escape(MARKS)}])", line) if p]
    return tuple(merge_english(found) if language == "en" else found)


def language_of(name: str) -> Language:
    if name in LANGUAGES:
        return LANGUAGES[name]
    if name in MISSING:
        raise InputError(f"Language {name!r} cannot be spoken: it needs {MISSING[name]}. Use {', '.join(LANGUAGES)}.")
    raise InputError(f"Unknown language {name!r}: expected one of {', '.join(LANGUAGES)}.")


def clean(text: str) -> str:
    """Keeps letters, digits, spaces and `MARKS`, with no space around marks."""
    for mark, latin in LATIN_MARKS.items():
        text = text.replace(mark, latin)
    text = re.sub(rf"[^\w\s{re.escape(MARKS)}]", "", text).replace("_", " ")
    text = re.sub(rf"\s*([{re.escape(MARKS)}])\s*", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def merge_english(found: list[str]) -> list[str]:
    """Affricates and r-coloured vowels become one phone each, and rare phones their common neighbour."""
    joined = _joined(found, JOINED)
    return _joined([RENAMED.get(phone, phone) for phone in joined], JOINED_LAST)


def _joined(phones: list[str], pairs: tuple[tuple[str, str], ...]) -> list[str]:
    for pair in pairs:
        result: list[str] = []
        for phone in phones:
            if result and (result[-1], phone) == pair:
                result[-1] += phone
            else:
                result.append(phone)
        phones = result
    return phones


def _remedy(character: str) -> str:
    if HANGUL.match(character):
        return "Use --language ko, or write them in the alphabet of the language."
    return "Chinese and Japanese cannot be spoken here; write them in the alphabet of the language."


def espeak_version() -> tuple[int, ...]:
    """Version of the espeak-ng in use."""
    return tuple(_espeak("en-us").version())


def _separator() -> object:
    from phonemizer.separator import Separator

    return Separator(phone="|", syllable="-", word=f"|{WORD_BREAK}|")


@cache
def _espeak(voice: str) -> EspeakBackend:
    """The system's espeak-ng where there is one, else the one in `espeakng-loader`."""
    try:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise InputError(f"Text to speech needs {error.name}. Install it with `pip install m8d[tts]`.") from error
    try:
        EspeakWrapper.library()
    except RuntimeError:
        _use_bundled_espeak(EspeakWrapper)
    quiet = logging.getLogger("m8d.espeak")
    quiet.setLevel(logging.ERROR)  # a word read in another language is no news
    try:
        return EspeakBackend(voice, punctuation_marks=MARKS, preserve_punctuation=True, with_stress=False,
                             language_switch="remove-flags", words_mismatch="ignore", logger=quiet)  # fmt: skip
    except RuntimeError as error:
        raise InputError(
            f"espeak-ng cannot be used ({error}). Install it: `apt install espeak-ng`, `brew install espeak-ng`, or "
            "`pip install m8d[tts]`, which brings one."
        ) from error


def _use_bundled_espeak(wrapper: type) -> None:
    try:
        import espeakng_loader
    except ImportError as error:
        raise InputError(
            "Text to speech needs espeak-ng, and there is none. Install it: `apt install espeak-ng`, "
            "`brew install espeak-ng`, or `pip install m8d[tts]`, which brings one."
        ) from error
    wrapper.set_library(espeakng_loader.get_library_path())
    wrapper.set_data_path(espeakng_loader.get_data_path())
