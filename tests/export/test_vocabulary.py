import json

import pytest

from m8d.engines.bundle import PHONES_FILE
from m8d.engines.errors import InputError
from m8d.export.vocabulary import read_vocabulary


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_both_forms_are_read(tmp_path):
    for content in ({"a": 0, "ʃ": 7}, {"vocab": {"a": 0, "ʃ": 7}}):
        assert read_vocabulary(write(tmp_path / "v.json", content), 8) == {"a": 0, "ʃ": 7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Cannot read the phone vocabulary"),
        ([1], "no phone vocabulary"),
        ({}, "no phone vocabulary"),
        ({"a": "b"}, "no phone vocabulary"),
        ({"a": 8}, "has id 8, expected 0 to 7"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_vocabulary(write(tmp_path / "v.json", content), 8)


def test_the_bundle_lists_the_table(tiny_bundle):
    assert PHONES_FILE in tiny_bundle.manifest.files
    assert json.loads((tiny_bundle.folder / PHONES_FILE).read_text(encoding="utf-8"))["ɚ"] == 8
