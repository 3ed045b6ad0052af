"""Latents of whole corpora: find audio, encode it in batches, keep account of what is done."""
