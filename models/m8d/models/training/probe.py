"""How much of the speaker is left in the latent: a linear probe, beside one on the features that it is made of.

N frames, D width, C speakers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m8d.models.rep_codec import RepCodec
from m8d.models.training.data import Recordings
from m8d.models.training.semantics import FeatureStatistics, MelCache, normal_features, normalise
from m8d.models.w2v_bert import W2VBert

SPEAKERS = 5
UTTERANCES = (12, 6)  # of each speaker, to learn from and to test on


def most_different_speakers(recordings: Recordings, utterances: int) -> list[int]:
    """One speaker with so many utterances of each voice that was synthesised, those with most speech first."""
    voices: dict[str, int] = {}
    for speaker, spoken in sorted(recordings.by_speaker.items(), key=lambda item: -len(item[1])):
        name = recordings.utterances[spoken[0]].speaker
        voices.setdefault("-".join(name.split("-")[:2]) if not name.startswith("espeak") else name, speaker)
    chosen = [speaker for speaker in voices.values() if len(recordings.by_speaker[speaker]) >= utterances]
    return chosen[:SPEAKERS]


def probe_accuracy(learn: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> float:
    """Accuracy on `test` of a softmax regression on `learn`; each is rows `(N, D)` and labels `(N,)`."""
    mean, std = learn[0].mean(0), learn[0].std(0).clamp(min=1e-6)
    head = nn.Linear(learn[0].shape[1], classes)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    x = (learn[0] - mean) / std

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(head(x), learn[1]) + 1e-4 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float((head((test[0] - mean) / std).argmax(-1) == test[1]).float().mean())


def speaker_probe(
    recordings: Recordings, w2v_bert: W2VBert, statistics: FeatureStatistics, codec: RepCodec,
    utterances: tuple[int, int] = UTTERANCES,
) -> dict[str, float]:  # fmt: skip
    """Accuracy per frame and per utterance (mean of its frames), on features and on latents; and what chance gives.

    Raises:
        ValueError: fewer than two speakers have so many utterances.
    """
    mels = MelCache(recordings)
    speakers = most_different_speakers(recordings, sum(utterances))
    if len(speakers) < 2:
        raise ValueError(f"A speaker probe needs two speakers with {sum(utterances)} utterances each.")
    sets: dict[str, list[tuple[Tensor, int]]] = {f"{part} {kind}": [] for part in ("learn", "test")
                                                 for kind in ("features", "latents")}  # fmt: skip
    for label, speaker in enumerate(speakers):
        for number, index in enumerate(recordings.by_speaker[speaker][: sum(utterances)]):
            part = "learn" if number < utterances[0] else "test"
            with torch.no_grad():
                normal = normal_features(w2v_bert, normalise(mels[index][None]), statistics)
                latents = codec.latents(normal, torch.tensor([normal.shape[1]]))
            sets[f"{part} features"].append((normal[0], label))
            sets[f"{part} latents"].append((latents[0], label))
    figures = {"speakers": float(len(speakers)), "chance": 1 / len(speakers)}
    for kind in ("features", "latents"):
        frames = [_rows(sets[f"{part} {kind}"], whole=False) for part in ("learn", "test")]
        means = [_rows(sets[f"{part} {kind}"], whole=True) for part in ("learn", "test")]
        figures[f"{kind} per frame"] = probe_accuracy(frames[0], frames[1], len(speakers))
        figures[f"{kind} per utterance"] = probe_accuracy(means[0], means[1], len(speakers))
    return figures


def _rows(items: list[tuple[Tensor, int]], whole: bool) -> tuple[Tensor, Tensor]:
    rows = [x.mean(0, keepdim=True) if whole else x for x, _ in items]
    labels = [torch.full((len(x),), label) for x, (_, label) in zip(rows, items, strict=True)]
    return torch.cat(rows), torch.cat(labels)
