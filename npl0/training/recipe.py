"""The recipe of a training stage: its length, optimiser, learning rate and augmentation."""

from dataclasses import dataclass

from npl0.declare import Settings, setting
from npl0.ops.schedules import SCHEDULES


@dataclass(frozen=True)
class Recipe(Settings):
    """How a stage trains. The defaults are those of `npl0.fit` and of a run alike; models have presets of their own."""

    epochs: int = setting(18, "epochs of training", 0, 100_000)
    batch_size: int = setting(128, "examples per mini-batch", 1, 65_536)
    optimizer: str = setting("adam", "optimiser", choices=("adam", "sgd"))
    learning_rate: float = setting(2e-3, "learning rate of the weights", above=0, high=100)
    momentum: float = setting(0.9, "momentum of the weights: SGD's (Nesterov), or Adam's beta1", 0, 0.9999)
    weight_decay: float = setting(0.0, "L2 strength on the weights", 0, 1)
    schedule: str = setting("step", "schedule of the weights' learning rate over the stage", choices=SCHEDULES)
    warmup_epochs: float = setting(0.0, "epochs over which the weights' learning rate rises from 0", 0, 100_000)
    shift: int = setting(0, "augmentation of both stages: random shifts of the images, in pixels", 0, 16)
    flip: float = setting(0.0, "augmentation of both stages: probability that an image is mirrored left to right", 0, 1)

    def rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor of the learning rate at a step: linear warm-up times the schedule."""
        warmup_steps = self.warmup_epochs * steps_per_epoch
        warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return warmup * SCHEDULES[self.schedule](step / (self.epochs * steps_per_epoch))
