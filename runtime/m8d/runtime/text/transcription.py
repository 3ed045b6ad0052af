"""What a reference says, by Whisper, for those who do not have its text."""

from __future__ import annotations

from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio

WHISPER_SAMPLE_RATE = 16000  # Hz
DEFAULT_MODEL = "base"


def transcribe(audio: Audio, language: str, model: str = DEFAULT_MODEL) -> str:
    """The text of `audio`.

    Args:
        audio: speech, a few seconds of it.
        language: of the speech, such as `en`.
        model: a size of Whisper, downloaded on first use, or the folder of a CTranslate2 model.

    Raises:
        InputError: faster-whisper is missing, the model cannot be had, or it hears no words.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise InputError(
            "Transcribing needs faster-whisper. Install it with `pip install m8d[transcribe]`, or give --prompt-text."
        ) from error
    try:
        whisper = WhisperModel(model, device="cpu", compute_type="default")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"The Whisper model {model!r} cannot be loaded ({' '.join(str(error).split())}). "
            "Check the network, name a folder with --transcribe-model, or give --prompt-text."
        ) from error
    segments, _ = whisper.transcribe(audio.resampled(WHISPER_SAMPLE_RATE), language=language)
    text = " ".join(segment.text.strip() for segment in segments).strip()
    if not text:
        raise InputError("Whisper hears no words in the reference. Give its text with --prompt-text.")
    return text
