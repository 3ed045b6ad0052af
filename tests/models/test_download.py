"""Downloading, with the hub replaced by a folder: revisions are resolved first, and what comes is checked."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest

from m8d.models.download import PHONE_VOCABULARY, download, sources
from m8d.models.errors import CheckpointError


@pytest.fixture
def hub(monkeypatch, tiny_checkpoint):
    """A hub whose every repository is the toy checkpoint; records what was asked of it."""
    asked = []

    def repo_info(self, repo, revision, repo_type):
        return SimpleNamespace(sha=f"commit-of-{repo}@{revision}")

    def snapshot_download(repo, repo_type, revision, local_dir, allow_patterns):
        asked.append((repo, revision))
        origin = tiny_checkpoint.folder / ("w2v-bert-2.0" if "w2v" in repo else ".")
        for pattern in allow_patterns:
            if (origin / pattern).exists():
                (local_dir / pattern).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin / pattern, local_dir / pattern)

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_files_come_from_resolved_commits(hub, tmp_path):
    commits = download(tmp_path, sources(revision="v1"))
    assert commits["amphion/MaskGCT"] == "commit-of-amphion/MaskGCT@v1"
    assert commits["spaces/amphion/maskgct"] == "commit-of-amphion/maskgct@main"  # the phone vocabulary
    assert ("amphion/MaskGCT", "commit-of-amphion/MaskGCT@v1") in hub
    assert (tmp_path / "w2v-bert-2.0" / "model.safetensors").exists()


def test_commits_are_pinned_by_default(hub, tmp_path):
    download(tmp_path, sources())
    revisions = {repo: revision.split("@")[1] for repo, revision in hub}
    assert revisions.pop(PHONE_VOCABULARY) == "main"
    assert all(len(revision) == 40 for revision in revisions.values())


def test_another_repository_has_no_pin(hub, tmp_path):
    download(tmp_path, sources(repo="someone/finetuned"))
    assert ("someone/finetuned", "commit-of-someone/finetuned@main") in hub


def test_t2s_can_be_left_out(hub, tmp_path):
    commits = download(tmp_path, sources(with_t2s=False))
    assert "spaces/amphion/maskgct" not in commits
    assert not (tmp_path / "t2s_model").exists()


def test_incomplete_repositories_are_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no such file"):
        download(tmp_path / "empty", sources())


def test_no_network_is_one_clear_error(tmp_path, monkeypatch):
    def refuse(self, repo, revision, repo_type):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", refuse)
    with pytest.raises(CheckpointError, match="Cannot download amphion/MaskGCT at v1: no route to host"):
        download(tmp_path, sources(revision="v1"))
