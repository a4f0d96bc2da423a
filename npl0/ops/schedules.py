"""Learning-rate schedules: functions from the fraction of a stage that is done, in [0, 1), to a factor of the rate."""

import math


def constant(fraction: float) -> float:
    """Stay at 1."""
    return 1.0


def step_decay(fraction: float, at: float = 0.7) -> float:
    """Divide by 10 once the fraction `at` of the stage is done."""
    return 1.0 if fraction < at else 0.1


def cosine(fraction: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * fraction))


def linear_decay(fraction: float) -> float:
    """Fall from 1 to 0 in a straight line."""
    return 1 - fraction


def one_cycle(fraction: float, peak: float = 0.3) -> float:
    """Rise from 1/25 to 1 until the fraction `peak`, then fall to 0, both along half a cosine (the form of fastai).

    Differs: Smith & Topin 2018 use straight lines in three phases, and cycle the momentum too.
    """
    if fraction < peak:
        return 1 / 25 + (1 - 1 / 25) * (1 - cosine(fraction / peak))
    return cosine((fraction - peak) / (1 - peak))


SCHEDULES = {"constant": constant, "step": step_decay, "linear": linear_decay, "cosine": cosine, "one-cycle": one_cycle}
