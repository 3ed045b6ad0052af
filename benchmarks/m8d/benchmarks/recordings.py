"""Real speech to judge with: recordings that Debian packages carry, as a folder that `quality` reads.

`asterisk-core-sounds-en-g722` has telephone prompts by one speaker, `pocketsphinx-testdata` five clips of a LibriVox
reader.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from m8d.benchmarks.judges import INSTALL, RATE
from m8d.benchmarks.quality import INDEX, NOISE_LEVEL
from m8d.engines.errors import InputError

PROMPTS = Path("usr/share/asterisk/sounds/en_US_f_Allison")
PROMPT_TEXTS = Path("usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
PACKAGES = "asterisk-core-sounds-en-g722 pocketsphinx-testdata"
NUM_PROMPTS = 11
PROMPT_WORDS = range(8, 21)
LIBRIVOX = Path("usr/share/pocketsphinx/test/data/librivox")
SPLIT = "real"
G722_BITS = 64000  # per second


def make_recordings(output: Path, root: Path = Path("/")) -> int:
    """Writes `index.jsonl` and `wav/ID.wav`, 16 kHz and equally loud; returns how many there are.

    Raises:
        InputError: `output` exists, or a package is not installed under `root`.
    """
    if output.exists():
        raise InputError(f"{output} exists already. Remove it or name another folder.")
    for path in (PROMPTS, PROMPT_TEXTS, LIBRIVOX):
        if not (root / path).exists():
            raise InputError(
                f"No recordings at {root / path}: install the Debian packages, `apt-get install {PACKAGES}`."
            )
    clips = [*_prompts(root), *_librivox(root)]
    staging = output.with_name(f"{output.name}.part")
    (staging / "wav").mkdir(parents=True)
    with (staging / INDEX).open("w") as index:
        for name, speaker, text, pcm in clips:
            level = np.float32(NOISE_LEVEL / np.sqrt(np.mean(pcm**2)))
            soundfile.write(staging / "wav" / f"{name}.wav", np.clip(level * pcm, -1, 1), RATE)
            index.write(json.dumps({"id": name, "split": SPLIT, "speaker": speaker, "text": text}) + "\n")
    staging.rename(output)
    return len(clips)


def _prompts(root: Path) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Prompts of plain sentences, from all of the alphabet: neighbours say the same."""
    try:
        from G722 import G722
    except ImportError as error:
        raise InputError(f"No decoder of the prompts ({error}). {INSTALL}") from error
    names: dict[str, str] = {}
    for line in gzip.decompress((root / PROMPT_TEXTS).read_bytes()).decode().splitlines():
        name, _, text = line.partition(": ")
        plain = re.fullmatch(r"[A-Za-z ,.']+", text) and len(text.split()) in PROMPT_WORDS
        if plain and (root / PROMPTS / f"{name}.g722").is_file():
            names.setdefault(text, name)
    for text, name in list(names.items())[:: max(1, len(names) // NUM_PROMPTS)][:NUM_PROMPTS]:
        pcm = G722(RATE, G722_BITS).decode((root / PROMPTS / f"{name}.g722").read_bytes())
        yield name.replace("/", "-"), "asterisk", text, np.asarray(pcm, np.float32) / 2**15


def _librivox(root: Path) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for line in (root / LIBRIVOX / "transcription").read_text().splitlines():
        found = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line)
        if found:
            pcm, _ = soundfile.read(root / LIBRIVOX / f"{found[2]}.wav", dtype="float32")
            yield found[2], "librivox", f"{found[1].capitalize()}.", pcm
