"""Random generators keyed by their purpose.

Each draw gets a new generator, made from `(seed, stream, key)`. No generator state has to be saved to resume a run, and
no draw depends on the order in which threads run.
"""

import numpy as np

STREAMS = ("init", "shuffle", "gates", "dropout", "augment", "validation", "synthetic", "gradcheck")


def generator(seed: int, stream: str, *key: int) -> np.random.Generator:
    """Return the generator of one draw, for the seed of the run (at least 0) and one of `STREAMS`.

    The key consists of non-negative integers that distinguish the draws of a stream (epoch, step, layer, shard ...).
    """
    # The spawn key makes the streams independent; SFC64 is the fastest bit generator of NumPy.
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *key))
    return np.random.Generator(np.random.SFC64(sequence))
