"""The noise contract: numbers that any language can draw."""

import numpy as np

from m8d.runtime.noise import NoiseStream, gumbel


def test_draws_do_not_depend_on_earlier_ones():
    stream = NoiseStream(7, 2, 3)
    first = stream.uniform(0, 5, (1, 4, 8))
    stream.uniform(1, 2, (1, 4))
    np.testing.assert_array_equal(first, NoiseStream(7, 2, 3).uniform(0, 5, (1, 4, 8)))


def test_every_name_has_its_own_numbers():
    draws = [
        NoiseStream(seed, stage, layer).uniform(kind, step, (4,)).tobytes()
        for seed in (0, 1)
        for stage in (0, 1)
        for layer in (0, 1)
        for kind in (0, 1)
        for step in (0, 1)
    ]
    assert len(set(draws)) == len(draws)


def test_known_numbers():
    """Written down once, so that a change of NumPy's generator would be noticed."""
    expected = np.array(
        [0.3139480948448181, 0.040098488330841064, 0.11703699827194214, 0.11271220445632935], np.float32
    )
    np.testing.assert_array_equal(NoiseStream(7, 1, 0).uniform(0, 0, (4,)), expected)


def test_gumbel_is_finite_at_the_ends():
    assert np.isfinite(gumbel(np.array([0.0, 1 - 2**-24], np.float32))).all()
