"""Every way a bundle can be wrong has its own clear error."""

import json
import shutil

import pytest

from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import MANIFEST, Bundle, Manifest
from m8d.engines.errors import BundleError


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(builtin_bundle().folder, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(folder, change):
    values = json.loads((folder / MANIFEST).read_text())
    change(values)
    (folder / MANIFEST).write_text(json.dumps(values))


def test_manifest_survives_json():
    manifest = builtin_bundle().manifest
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_missing_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"No bundle at .*expected a folder with m8d\.json.*m8d-export build"):
        Bundle.open(tmp_path)


def test_not_json(copy):
    (copy / MANIFEST).write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        Bundle.open(copy)


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_versions_are_read(copy, version):
    edit(copy, lambda v: v.update(format_version=version))
    assert Bundle.open(copy).speaks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="zip"), "no bundle manifest"),
        (lambda v: v.update(format_version=99), "format_version 99, this m8d reads 1 and 2"),
        (lambda v: v["model"].pop("hop_size"), r"model\.hop_size is missing"),
        (lambda v: v["model"].update(hop_size="480"), r"model\.hop_size is '480', expected int"),
        (lambda v: v["stages"].pop("guidance"), "has no stage guidance"),
        (lambda v: v["stages"].pop("t2s_head"), "has no stage t2s_head"),
        (lambda v: v["stages"]["guidance"].update(precision="fp7"), "precision is 'fp7'"),
        (lambda v: v["stages"]["guidance"]["inputs"][0].update(dtype="float7"), "dtype is 'float7'"),
        (lambda v: v["files"].pop("guidance.onnx"), "names guidance.onnx, files does not list it"),
        (lambda v: v["files"].update({"../x": {"sha256": "", "bytes": 1}}), "outside itself"),
    ],
)
def test_wrong_manifest(copy, change, message):
    edit(copy, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(copy)


def test_missing_file(copy):
    (copy / "guidance.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks guidance\.onnx"):
        Bundle.open(copy)


def test_short_file(copy):
    path = copy / "guidance.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"guidance\.onnx has \d+ bytes, the manifest says \d+"):
        Bundle.open(copy)


def test_damaged_file(copy):
    path = copy / "guidance.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"guidance\.onnx is damaged"):
        Bundle.open(copy)
