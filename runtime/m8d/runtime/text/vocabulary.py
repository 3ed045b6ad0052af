"""Phonemes → phone ids, by the table that a bundle carries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m8d.engines.bundle import PHONES_FILE, Bundle
from m8d.engines.errors import BundleError


@dataclass(frozen=True)
class PhoneVocabulary:
    """Attributes:
    ids: phone → row of the T2S model's phone table.
    """

    ids: dict[str, int]

    @classmethod
    def of(cls, bundle: Bundle) -> PhoneVocabulary:
        """Raises `BundleError` when the bundle cannot speak text."""
        if not bundle.has_tts:
            raise BundleError(
                f"The bundle at {bundle.folder} has no text to speech. Build one without `--without t2s`."
            )
        if PHONES_FILE not in bundle.manifest.files:
            raise BundleError(
                f"The bundle at {bundle.folder} has no phone vocabulary ({PHONES_FILE}), so it cannot speak text. "
                "Build it with `m8d-export build --vocabulary FILE`."
            )
        return cls.read(bundle.folder / PHONES_FILE)

    @classmethod
    def read(cls, path: Path) -> PhoneVocabulary:
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def encode(self, phones: Iterable[str]) -> np.ndarray:
        """Ids `(P,)` int64. Phones that the vocabulary lacks are dropped, as the reference drops them."""
        return np.array([self.ids[phone] for phone in phones if phone in self.ids], np.int64)
