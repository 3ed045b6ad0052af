"""German and French normalisation: punctuation, numbers, symbols and abbreviations that espeak would misread.

Punctuation follows the reference's `g2p/german.py` and `g2p/french.py`. Mended where the reference misreads: it takes
the comma of "3,14" and the point of "1.000" for pauses, and drops or pauses at currency signs and "%".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PAUSES = str.maketrans({
    **dict.fromkeys(";:：；，·、", ","),
    **dict.fromkeys("。\n", "."),
    "！": "!", "？": "?",
    "…": ".",
    **dict.fromkeys("-～~", " "),
    **dict.fromkeys("“”„‘‚’«»‹›\"（）()[]《》【】「」<>—¿¡", ""),
})  # fmt: skip
APOSTROPHE = re.compile(r"(?<=\w)[’‘](?=\w)")


@dataclass(frozen=True)
class Reading:
    """How a language reads what is not a word.

    Attributes:
        thousands: a number with its separators of thousands.
        point: the word of the decimal comma.
        symbols: what a currency or other sign is called; currencies come after their number.
        abbreviations: pattern → words.
    """

    thousands: re.Pattern[str]
    point: str
    symbols: dict[str, str]
    abbreviations: dict[str, str]

    def normalise(self, text: str) -> str:
        for pattern, words in self.abbreviations.items():
            text = re.sub(pattern, words, text)
        text = self.thousands.sub(lambda m: re.sub(r"\D", "", m[0]), text)
        text = re.sub(r"([$£€])\s?(\d+(?:,\d+)?)", r"\2 \1", text)
        text = re.sub(r"(\d),(\d+)", lambda m: f"{m[1]} {self.point} {' '.join(m[2])}", text)
        for symbol, word in self.symbols.items():
            text = text.replace(symbol, f" {word} ")
        text = APOSTROPHE.sub("'", text.replace("...", "…")).translate(PAUSES)
        return re.sub(r"^[\s,.!?]+", "", re.sub(r"\s+", " ", text)).strip()


GERMAN = Reading(
    thousands=re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])"),
    point="Komma",
    symbols={"€": "Euro", "$": "Dollar", "£": "Pfund", "%": "Prozent", "&": "und"},
    abbreviations={
        r"\bz\.\s?B\.": "zum Beispiel",
        r"\bd\.\s?h\.": "das heißt",
        r"\bu\.\s?a\.": "unter anderem",
        r"\busw\.": "und so weiter",
        r"\bbzw\.": "beziehungsweise",
        r"\bca\.": "circa",
        r"\bNr\.": "Nummer",
        r"\bDr\.": "Doktor",
        r"\bProf\.": "Professor",
        r"\bHr\.": "Herr",
        r"\bFr\.": "Frau",
    },
)
FRENCH = Reading(
    thousands=re.compile(r"(?<![\d,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)"),
    point="virgule",
    symbols={"€": "euros", "$": "dollars", "£": "livres", "%": "pour cent", "&": "et"},
    abbreviations={
        r"\bMM\.": "messieurs",
        r"\bM\.": "monsieur",
        r"\bMmes\b\.?": "mesdames",
        r"\bMme\b\.?": "madame",
        r"\bMlles\b\.?": "mesdemoiselles",
        r"\bMlle\b\.?": "mademoiselle",
        r"\bDr\b\.?": "docteur",
        r"\bPr\b\.?": "professeur",
        r"\bSte\b\.?": "sainte",
        r"\bSt\b\.?": "saint",
        r"\bav\. J\.-C\.?": "avant Jésus-Christ",
        r"\bapr\. J\.-C\.?": "après Jésus-Christ",
        r"\bc\.-à-d\.": "c'est-à-dire",
        r"\bp\. ex\.": "par exemple",
        r"\bN\.B\.": "nota bene",
        r"\betc\.": "et cetera",
        r"\b[nN]°\s?": "numéro ",
    },
)
