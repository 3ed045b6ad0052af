"""Korean normalisation as the reference's `g2p/korean.py`: Hanja are dropped, listed Latin words are spelled out."""

from __future__ import annotations

import re

HANJA = re.compile("[⺀-⻿⼀-⿕々〇〡-〩〸-〻㐀-䶿一-鿿豈-龎]")
NAMES = "에이 비 씨 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 알 에스 티 유 브이 더블유 엑스 와이 제트"
LETTERS = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", NAMES.split(" "), strict=True))
SPELLED = ("IT", "IQ", "PC", "SNS", "AI", "CEO", *LETTERS)
WORDS = {"KOREA": "코리아", "IDOL": "아이돌", "UP": "업", "DOWN": "다운", "CCTV": "씨씨티비"}


def normalise_korean(text: str) -> str:
    """Words that are not listed stay, for espeak to read as English."""
    text = HANJA.sub("", text)
    return re.sub(r"[A-Za-z]+", lambda m: _korean(m[0]), text).lower()


def _korean(word: str) -> str:
    if word in SPELLED:
        return "".join(LETTERS[letter] for letter in word)
    return WORDS.get(word, word)
