"""English normalisation: abbreviations, numbers, currency and per cent become words.

Follows the reference's `g2p/english.py` in what it expands, so that phones are those the model was trained on. Mended
where the reference misreads: "1,2" (it reads 12), "£1" and "£2.50", "$2.5" (it reads 5 cents), "$3 million", digits
after the point; "€" and "&", which it drops, are read.
"""

from __future__ import annotations

import re

# Read with or without a full stop after them; the stop stays, as in the reference.
ABBREVIATIONS = {
    "mrs": "misess",  # the reference's spelling, which espeak reads well
    "mr": "mister",
    "dr": "doctor",
    "drs": "doctors",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
    "etc": "et cetera",
    "btw": "by the way",
}
ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\b", re.IGNORECASE)
# Possessive and anchored: without that, a long run of digits takes quadratic time.
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
MONEY = re.compile(r"([$£€])\s?(\d++)(?:\.(\d++))?(?:\s+(hundred|thousand|million|billion|trillion)\b)?")
FRACTION = re.compile(r"(?<![\d/])(\d{1,4})/(\d{1,4})(?![\d/])")
DECIMAL = re.compile(r"(?<!\d)(\d++)\.(\d++)")
PERCENT = re.compile(r"(?<=\d)\s?%")
ORDINAL = re.compile(r"(?<!\d)(\d++)(?:st|nd|rd|th)\b", re.IGNORECASE)
NUMBER = re.compile(r"\d+")

CURRENCIES = {  # one, many, one hundredth, many
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
LONGEST_NUMBER = 15  # digits; longer ones are read digit by digit
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def normalise_english(text: str) -> str:
    text = ABBREVIATION.sub(lambda m: ABBREVIATIONS[m[1].lower()], text)
    text = text.replace("&", " and ")
    text = THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    text = MONEY.sub(_money, text)
    text = PERCENT.sub(" percent ", text)
    text = FRACTION.sub(_fraction, text)
    text = DECIMAL.sub(lambda m: f"{m[1]} point {_digits(m[2])}", text)
    text = ORDINAL.sub(lambda m: f" {_ordinal(m[1])} ", text)
    return NUMBER.sub(lambda m: f" {_number(m[0])} ", text)


def _words(number: int) -> str:
    """`one thousand, two hundred five`: with the reference's comma, without its "and"."""
    return _plain(number).replace(" and ", " ")


def _plain(number: int, kind: str = "cardinal") -> str:
    # inflect, which the reference uses, gives the same words but takes 5 s to import.
    from num2words import num2words

    return str(num2words(number, to=kind))


def _digits(text: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in text)


def _number(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        return _digits(text)
    number = int(text)
    if 1000 < number < 3000:  # read as years are
        if number == 2000 or 2000 < number < 2010:
            return f"two thousand {_words(number % 100) if number % 100 else ''}".strip()
        if number % 100 == 0:
            return f"{_words(number // 100)} hundred"
        tens = number % 100
        return f"{_words(number // 100)} {'oh ' if tens < 10 else ''}{_words(tens)}"
    return _words(number)


def _ordinal(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        return _digits(text)
    return _plain(int(text), "ordinal")


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    halves = {2: ("half", "halves"), 4: ("quarter", "quarters")}
    if below in halves:
        return f" {_plain(above)} {halves[below][above != 1]} "
    return f" {_plain(above)} {_plain(below, 'ordinal')} "


def _money(match: re.Match[str]) -> str:
    symbol, whole, part, power = match.groups()
    one, many, hundredth, hundredths = CURRENCIES[symbol]
    if power or (part and len(part) > 2):
        return f" {whole}{'.' + part if part else ''} {power or ''} {many} "
    units, cents = int(whole[-LONGEST_NUMBER:]), int((part or "0").ljust(2, "0"))
    parts = []
    if units or not cents:
        parts.append(f"{whole if units else 'zero'} {one if units == 1 else many}")
    if cents:
        parts.append(f"{cents} {hundredth if cents == 1 else hundredths}")
    return f" {', '.join(parts)} "
