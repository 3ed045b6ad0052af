"""The phone vocabulary of text to speech: a table that comes with the weights and goes into the bundle."""

from __future__ import annotations

import json
from pathlib import Path

from m8d.engines.errors import InputError


def read_vocabulary(path: Path, num_phones: int) -> dict[str, int]:
    """Phone → id from a JSON file: an object of them, or the reference's `g2p/vocab.json` with one under "vocab".

    Raises:
        InputError: the file is not such a table, or has ids outside the model's `num_phones` rows.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read the phone vocabulary {path}: {error}. Expected a JSON object.") from error
    table = content.get("vocab", content) if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table or not all(type(value) is int for value in table.values()):
        raise InputError(f"{path} is no phone vocabulary: expected a JSON object of phones and their ids.")
    outside = [phone for phone, value in table.items() if not 0 <= value < num_phones]
    if outside:
        raise InputError(
            f"{path}: phone {outside[0]!r} has id {table[outside[0]]}, expected 0 to {num_phones - 1}: "
            "the vocabulary belongs to another model."
        )
    return table
