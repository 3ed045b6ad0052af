"""The text front end of text to speech: normalisation, phonemes, phone ids. No torch."""
