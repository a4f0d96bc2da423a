"""Generators depend on the seed, the stream and the key, and on nothing else."""

import itertools

from npl0.runtime.rng import STREAMS, generator


def test_the_same_key_gives_the_same_numbers():
    assert generator(3, "gates", 1, 2).random() == generator(3, "gates", 1, 2).random()


def test_seeds_streams_and_keys_give_different_numbers():
    keys = itertools.product((0, 1), STREAMS, ((), (0,), (1,), (0, 0), (0, 1), (1, 0)))
    draws = [generator(seed, stream, *key).random() for seed, stream, key in keys]
    assert len(set(draws)) == len(draws) == 2 * len(STREAMS) * 6
