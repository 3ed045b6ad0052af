"""Numbers, currency, abbreviations and signs as words; where the reference misreads, the right reading."""

import pytest

from m8d.runtime.text.english import normalise_english
from m8d.runtime.text.european import FRENCH, GERMAN
from m8d.runtime.text.korean import normalise_korean


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("$5.50", "five dollars, fifty cents"),
        ("$1", "one dollar"),
        ("$0.01", "one cent"),
        ("$2.5", "two dollars, fifty cents"),  # the reference: five cents
        ("$3 million", "three million dollars"),  # the reference: three dollars million
        ("£1", "one pound"),  # the reference: one pounds
        ("£2.50", "two pounds, fifty pence"),
        ("€20", "twenty euros"),  # the reference drops the sign
        ("1,234,567", "one million, two hundred thirty-four thousand, five hundred sixty-seven"),
        ("1,2", "one , two"),  # the reference: twelve
        ("3.14", "three point one four"),
        ("99.5%", "ninety-nine point five percent"),
        ("1905", "nineteen oh five"),
        ("2000 2007 2010 2100", "two thousand two thousand seven twenty ten twenty-one hundred"),
        ("1/2, 3/4, 5/8", "one half , three quarters , five eighth"),
        ("21st", "twenty-first"),
        ("Dr. Lee & Mrs. Ray", "doctor. Lee and misess. Ray"),
        ("coat", "coat"),
        ("1" * 100_000, words("one " * 100_000)),
        ("٣", "three"),  # other digits
    ],
)
def test_english(text, spoken):
    assert words(normalise_english(text)) == spoken


@pytest.mark.parametrize(
    ("reading", "text", "spoken"),
    [
        (GERMAN, "3,14 und 1.234.567", "3 Komma 1 4 und 1234567"),
        (GERMAN, "5 €, $20, 10%", "5 Euro , 20 Dollar , 10 Prozent"),
        (GERMAN, "z. B. Dr. Kohl & Co", "zum Beispiel Doktor Kohl und Co"),
        (GERMAN, "„Ja“ (wirklich)…", "Ja wirklich."),
        (FRENCH, "1 234,5 €", "1234 virgule 5 euros"),
        (FRENCH, "M. et Mme Durand, 50 %", "monsieur et madame Durand, 50 pour cent"),
        (FRENCH, "« L’été »", "L'été"),
    ],
)
def test_german_and_french(reading, text, spoken):
    assert words(reading.normalise(text)) == spoken


def test_korean():
    assert normalise_korean("AI와 GPU, 大韓") == "에이아이와 gpu, "
