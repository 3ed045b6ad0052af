"""One phone set for every speech engine: the 39 phones of CMUdict and silence.

Phone names of an engine are lists of (name, end time); what an engine splits or merges differently is folded to the
nearest CMU phone, because frame-wise labels must agree between voices.
"""

from __future__ import annotations

import numpy as np

SILENCE = "sil"
PAIRS_JOINED = 0.8  # the others span words
PHONES = (
    SILENCE,
    "aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh",
    "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip
PHONE_ID = {name: number for number, name in enumerate(PHONES)}

FLITE = {"ax": "ah", "axr": "er", "pau": SILENCE, "dx": "t", "el": "l", "en": "n", "em": "m", "nx": "n"}

# Kokoro's alphabet (IPA with capitals for diphthongs), also that of hibari.
KOKORO = {
    "A": "ey", "I": "ay", "O": "ow", "Q": "ow", "W": "aw", "Y": "oy", "T": "t", "S": "ay", "ᵊ": "ah", "a": "ae",
    "b": "b", "d": "d", "e": "ey", "f": "f", "h": "hh", "i": "iy", "j": "y", "k": "k", "l": "l", "m": "m", "n": "n",
    "o": "ow", "p": "p", "s": "s", "t": "t", "u": "uw", "v": "v", "w": "w", "z": "z", "æ": "ae", "ð": "dh", "ŋ": "ng",
    "ɐ": "ah", "ɑ": "aa", "ɒ": "aa", "ɔ": "ao", "ə": "ah", "ɚ": "er", "ɛ": "eh", "ɜ": "er", "ɡ": "g", "ɪ": "ih",
    "ɹ": "r", "ɾ": "t", "ʃ": "sh", "ʊ": "uh", "ʌ": "ah", "ʒ": "zh", "ʤ": "jh", "ʧ": "ch", "ʔ": "t", "θ": "th",
    "ᵻ": "ih",
}  # fmt: skip

# Mnemonics of espeak-ng's English voices.
ESPEAK = {
    "0": "aa", "0#": "aa", "3": "er", "3:": "er", "@": "ah", "@2": "ah", "@5": "ah", "@L": "l", "A:": "aa", "A@": "aa",
    "A#": "aa", "D": "dh", "E": "eh", "E2": "eh", "I": "ih", "I#": "ih", "I2": "ih", "N": "ng", "O": "ao", "O:": "ao",
    "O2": "ao", "O@": "ao", "OI": "oy", "S": "sh", "T": "th", "U": "uh", "U@": "uh", "V": "ah", "Z": "zh", "a": "ae",
    "a#": "ah", "aa": "ae", "aI": "ay", "aI3": "ay", "aI@": "ay", "aU": "aw", "aU@": "aw", "b": "b", "d": "d",
    "dZ": "jh", "e": "eh", "e@": "eh", "e:": "ey", "eI": "ey", "f": "f", "g": "g", "h": "hh", "i": "iy", "i:": "iy",
    "i@": "iy", "i@3": "iy", "j": "y", "k": "k", "l": "l", "m": "m", "n": "n", "n-": "n", "o@": "ao", "oU": "ow",
    "o:": "ow", "p": "p", "r": "r", "r-": "r", "s": "s", "t": "t", "t#": "t", "t2": "t", "tS": "ch", "u": "uw",
    "u:": "uw", "v": "v", "w": "w", "w#": "w", "z": "z", "z#": "z", "?": "t", "l#": "l", "m-": "m", "VR": "er",
    ";": "y", "@-": "ah", "x": "k", "_": SILENCE, "_:": SILENCE, "_!": SILENCE, "_|": SILENCE,
    "_::": SILENCE, "_^_": SILENCE, "_X1": SILENCE,
}  # fmt: skip

# What text to speech reads: the phonemes of English text as `m8d.runtime.text` has them, two joined ones as one phone.
TEXT = {
    "b": "b", "d": "d", "f": "f", "h": "hh", "j": "y", "k": "k", "l": "l", "m": "m", "n": "n", "p": "p", "s": "s",
    "t": "t", "v": "v", "w": "w", "z": "z", "ð": "dh", "ŋ": "ng", "ɡ": "g", "ɹ": "r", "ɾ": "t", "ʃ": "sh", "ʒ": "zh",
    "θ": "th", "tʃ": "ch", "dʒ": "jh", "i": "iy", "iː": "iy", "ɪ": "ih", "eɪ": "ey", "ɛ": "eh", "æ": "ae", "a": "ae",
    "ə": "ah", "ʌ": "ah", "ɚ": "er", "ɜː": "er", "ɑː": "aa", "ɔ": "ao", "ɔː": "ao", "oː": "ao", "o": "ow", "oʊ": "ow",
    "ʊ": "uh", "uː": "uw", "aɪ": "ay", "aʊ": "aw", "ɔɪ": "oy",
    **dict.fromkeys(",.?!;:…", SILENCE),
}  # fmt: skip
JOINED = {
    "ɑːɹ": ("aa", "r"), "ɔːɹ": ("ao", "r"), "oːɹ": ("ao", "r"), "ɛɹ": ("eh", "r"), "ʊɹ": ("uh", "r"), "ɪɹ": ("ih", "r"),
    "aɪɚ": ("ay", "er"), "aɪə": ("ay", "ah"), "iə": ("iy", "ah"), "tɹ": ("t", "r"), "dɹ": ("d", "r"),
    "ts": ("t", "s"), "dz": ("d", "z"),
}  # fmt: skip
PAIRS = sorted(set(JOINED.values()))
PAIR_ID = {tuple(PHONE_ID[name] for name in pair): len(PHONES) + number for number, pair in enumerate(PAIRS)}


def vocabulary() -> dict[str, int]:
    """The table of a bundle: phonemes of text and their ids; word breaks are not among them."""
    pairs = {symbol: PAIR_ID[PHONE_ID[first], PHONE_ID[second]] for symbol, (first, second) in JOINED.items()}
    return {symbol: PHONE_ID[name] for symbol, name in TEXT.items()} | pairs


def as_read(phones: list[tuple[int, float]], chance: np.random.Generator) -> list[tuple[int, float]]:
    """What was spoken, `(id, end)`, as it is read: no silence before it, and most pairs as one, as within a word."""
    while phones and phones[0][0] == PHONE_ID[SILENCE]:
        phones = phones[1:]
    read: list[tuple[int, float]] = []
    for phone, end in phones:
        joined = PAIR_ID.get((read[-1][0], phone)) if read else None
        if joined is not None and chance.random() < PAIRS_JOINED:
            read[-1] = joined, end
        else:
            read.append((phone, end))
    return read
