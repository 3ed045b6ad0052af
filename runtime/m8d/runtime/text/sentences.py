"""Long text → pieces that are spoken one after another: whole sentences where they fit."""

from __future__ import annotations

import re
from collections.abc import Callable

from m8d.runtime.text.english import ABBREVIATIONS

# After these a full stop ends no sentence. Single letters are initials.
TITLES = ("prof", "vs", "nr", "ca", "bzw", "hr", "fr", "mm", "mme", "mlle", "pr", "ste", "no", "fig", "vol", "approx")
NOT_LAST = {*ABBREVIATIONS, *TITLES} - {"etc"}
ENDING = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])\s*|\s*\n\s*\n\s*")
CLAUSE = re.compile(r"(?<=[,;:，；：、–—])\s*(?=\S)")
LAST_WORD = re.compile(r"(\w+)\.$")


def sentences(text: str) -> list[str]:
    """The sentences of `text`; single line breaks are spaces, empty lines end a sentence."""
    found: list[str] = []
    start = 0
    for match in ENDING.finditer(text):
        part = text[start : match.end()].strip()
        last = LAST_WORD.search(part)
        if (
            last
            and (last[1].lower() in NOT_LAST or (len(last[1]) == 1 and last[1].isalpha()))
            and "\n\n" not in match[0]
        ):
            continue
        found.append(part)
        start = match.end()
    found.append(text[start:].strip())
    return [re.sub(r"\s+", " ", part) for part in found if part]


def pieces(text: str, size: Callable[[str], int], limit: int) -> list[str]:
    """Groups of sentences, each of `size` up to `limit`; a longer sentence breaks at clauses, then between words.

    A single word may be longer than the limit. Parts of size 0 are left out.
    """
    packed: list[tuple[str, int]] = []
    for part in sentences(text):
        for chunk, length in _broken(part, size, limit):
            if length == 0:
                continue
            if packed and packed[-1][1] + length < limit:
                packed[-1] = (f"{packed[-1][0]} {chunk}", packed[-1][1] + length + 1)
            else:
                packed.append((chunk, length))
    return [chunk for chunk, _ in packed]


def _broken(part: str, size: Callable[[str], int], limit: int) -> list[tuple[str, int]]:
    length = size(part)
    if length <= limit:
        return [(part, length)]
    clauses = [clause for clause in CLAUSE.split(part) if clause]
    if len(clauses) > 1:
        return [chunk for clause in clauses for chunk in _broken(clause, size, limit)]
    words = part.split()
    if len(words) == 1:
        return [(part, length)]
    middle = len(words) // 2
    return [c for half in (words[:middle], words[middle:]) for c in _broken(" ".join(half), size, limit)]
