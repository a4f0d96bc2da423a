"""Every random draw of the project, keyed by what it is for: no generator has a state that must be saved.

A generator is made anew from `(seed, stream, key...)`, so a resumed run needs only the seed and the step, and no
draw depends on which thread asks first.
"""

import numpy as np

STREAMS = ("init", "shuffle", "gates", "dropout", "augment", "validation", "synthetic", "gradcheck")


def generator(seed: int, stream: str, *key: int) -> np.random.Generator:
    """Return the generator of one purpose.

    Parameters
    ----------
    seed : the run's seed, >= 0.
    stream : what the draw is for, one of `STREAMS`.
    key : non-negative integers that tell draws of one stream apart (epoch, step, layer, shard ...).

    Notes
    -----
    SFC64 is the fastest of NumPy's bit generators; `SeedSequence` with a spawn key makes streams independent.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *key))
    return np.random.Generator(np.random.SFC64(sequence))
