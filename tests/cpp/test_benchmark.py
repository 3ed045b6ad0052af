"""The benchmark that compares the C++ program with the Python command."""

import pytest

from m8d.benchmarks.embedding import embedding
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError

from .conftest import BUILD


def test_both_programs_are_timed(bundle):
    result = embedding(Bundle.open(bundle), BUILD / "m8d-convert", 0.5, 1.0, 0.5, repeats=1, threads=1)
    assert [row["program"] for row in result.tables["Whole processes"]] == ["C++", "Python"]
    assert result.figures["library bytes"] > 100_000


def test_a_program_that_is_not_there(bundle, tmp_path):
    with pytest.raises(InputError, match=r"expected m8d-convert beside its libm8d\.so"):
        embedding(Bundle.open(bundle), tmp_path / "m8d-convert", 0.5, 1.0, 0.5, repeats=1, threads=1)
