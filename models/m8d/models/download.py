"""Fetches the published checkpoints into one folder of the layout that `checkpoint.py` describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m8d.models.checkpoint import STAGES, STATS_FILE, VOCABULARY_FILE, Checkpoint
from m8d.models.errors import CheckpointError

MASKGCT = "amphion/MaskGCT"  # CC-BY-NC-4.0
W2V_BERT = "facebook/w2v-bert-2.0"  # MIT
STATISTICS = "IndexTeam/IndexTTS-2"  # a public copy of the Amphion source tree's wav2vec2bert_stats.pt
PHONE_VOCABULARY = "amphion/maskgct"  # a space with the Amphion source tree; its vocabulary is checked when used
# Commits that the layout was written against; a later one may be named, and is then checked all the same.
PINNED = {
    MASKGCT: "265c6cef07625665d0c28d2faafb1415562379dc",
    W2V_BERT: "da985ba0987f70aaeb84a80f2851cfac8c697a7b",
    STATISTICS: "740dcaff396282ffb241903d150ac011cd4b1ede",
}


@dataclass(frozen=True)
class Source:
    """A repository at a revision, the files wanted of it, and where they go below the checkpoint folder."""

    repo: str
    revision: str
    files: tuple[str, ...]
    folder: str = "."
    kind: str = "model"  # what the hub calls repo_type: model or space


def sources(repo: str = MASKGCT, revision: str | None = None, with_t2s: bool = True) -> tuple[Source, ...]:
    """What a whole checkpoint is made of. `revision` None is the pinned commit of `repo`, or `main` of another one."""
    paths = [s.path for name, s in STAGES.items() if name != "w2v_bert" and (with_t2s or name != "t2s")]
    return (
        Source(repo, revision or PINNED.get(repo, "main"), (*paths, "config.json")),
        Source(
            W2V_BERT, PINNED[W2V_BERT], ("config.json", "preprocessor_config.json", "model.safetensors"), "w2v-bert-2.0"
        ),
        Source(STATISTICS, PINNED[STATISTICS], (STATS_FILE,)),
        *([Source(PHONE_VOCABULARY, "main", (VOCABULARY_FILE,), kind="space")] if with_t2s else []),
    )


def download(folder: Path, wanted: tuple[Source, ...]) -> dict[str, str]:
    """Downloads with progress bars, resuming what an earlier run left, then checks every name and shape.

    Each revision is resolved to a commit first, so that all files of a repository come from one state of it.

    Returns:
        The commit of each repository, for the bundle's provenance.

    Raises:
        CheckpointError: a repository or revision cannot be had, or the files do not fit the model.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    commits = {}
    for source in wanted:
        try:
            commit = HfApi().repo_info(source.repo, revision=source.revision, repo_type=source.kind).sha
            snapshot_download(
                source.repo,
                repo_type=source.kind,
                revision=commit,
                local_dir=folder / source.folder,
                allow_patterns=list(source.files),
            )
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(
                f"Cannot download {source.repo} at {source.revision}: {error}. "
                "Check the network and the revision; a second run goes on where this one stopped."
            ) from error
        commits[source.repo if source.kind == "model" else f"{source.kind}s/{source.repo}"] = str(commit)
    fetched = {(Path(source.folder) / file).as_posix() for source in wanted for file in source.files}
    Checkpoint(folder).check([name for name, stage in STAGES.items() if stage.path in fetched])
    return commits
