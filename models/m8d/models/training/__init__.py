"""Trains a small checkpoint in the published layout: corpus, semantics, codec, S2A, T2S, package."""
