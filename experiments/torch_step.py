"""PyTorch's side of `bench_training.py`: the same models and the same step, in PyTorch's usual form."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from step_setting import GATE_LEARNING_RATE, MOMENTUM, Setting

# Channels of the convolutions of VGG-16; a pooling ends each group.
VGG16_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def build_lenet5() -> nn.Sequential:
    """Build LeNet-5, with ReLU before the pooling."""
    conv1, conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
    maps = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*maps, nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def build_lenet300() -> nn.Sequential:
    """Build LeNet-300-100."""
    hidden = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(100, 10))


def build_vgg16(width: float) -> nn.Sequential:
    """Build VGG-16 with its channels scaled by `width`, with ReLU before the pooling."""
    layers, channels = [], 3
    for group in VGG16_GROUPS:
        for full in group:
            inputs, channels = channels, round(width * full)
            convolution = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(channels, channels, bias=False), nn.BatchNorm1d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(channels, 10))


def build_model(name: str, width: float) -> nn.Sequential:
    """Build the model that `npl0.nn.build_model` builds by the same name; only vgg16 uses the width."""
    if name == "vgg16":
        return build_vgg16(width)
    return {"lenet5": build_lenet5, "lenet300": build_lenet300}[name]()


def torch_step(setting: Setting, fused: bool, channels_last: bool) -> Callable[[int], float]:
    """Return the training step, a function that takes the number of the step and returns the loss.

    Parameters
    ----------
    setting : the step to measure.
    fused : whether to use the fused form of the optimisers.
    channels_last : whether to keep images, feature maps and kernels in the channels-last memory format.
    """
    torch.set_num_threads(setting.threads)
    workload, layout = setting.workload, torch.channels_last if channels_last else torch.contiguous_format
    net = build_model(setting.model, setting.width).to(memory_format=layout)
    # The other parameters are biases, and the scales and shifts of batch norm.
    weights = {name: p for name, p in net.named_parameters() if p.ndim > 1}
    gates = {}
    if setting.variant == "gated":
        gates = {name: nn.Parameter(torch.full_like(p, workload.log_alpha_init)) for name, p in weights.items()}
    optimizers = build_optimizers(setting, net, list(gates.values()), fused)
    images, labels, order = (torch.from_numpy(array) for array in setting.data())
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (workload.mean, workload.std))
    beta, gamma, zeta = 2 / 3, -0.1, 1.1

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
        # Louizos et al. (2018), eqs. 10-12; logit(u) computes log u - log(1 - u) in one operation.
        gated, expected = {}, 0.0
        for name, log_alpha in gates.items():
            u = torch.empty_like(log_alpha).uniform_(1e-6, 1 - 1e-6)
            s = torch.sigmoid((torch.logit(u) + log_alpha) / beta)
            gated[name] = weights[name] * (s * (zeta - gamma) + gamma).clamp(0, 1)
            expected = expected + torch.sigmoid(log_alpha - beta * math.log(-gamma / zeta)).sum()
        penalty = workload.l0_lambda / workload.images * expected
        return torch.func.functional_call(net, gated, (x,)) if gated else net(x), penalty

    def step(i: int) -> float:
        picked = order[i % len(order)]
        for optimizer in optimizers:
            optimizer.zero_grad()
        x = images[picked].to(memory_format=layout)
        logits, penalty = forward((x.float() / 255 - mean) / std)
        loss = functional.cross_entropy(logits, labels[picked]) + penalty
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    return step


def build_optimizers(
    setting: Setting, net: nn.Module, gates: list[nn.Parameter], fused: bool
) -> list[torch.optim.Optimizer]:
    """Return the optimiser of weights, biases and batch norm; if it is SGD, the gates have an Adam beside it.

    Weight decay acts on the weights only.
    """
    workload, decay = setting.workload, setting.workload.weight_decay
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "lr": workload.learning_rate, "weight_decay": decay},
        {"params": [p for p in net.parameters() if p.ndim == 1], "lr": workload.learning_rate},
    ]
    gate_groups = [{"params": gates, "lr": GATE_LEARNING_RATE}] if gates else []
    # None lets PyTorch choose the form; False would forbid the fused one.
    kind = {"fused": fused or None}
    if workload.optimizer == "adam":
        return [torch.optim.Adam(groups + gate_groups, **kind)]
    by_sgd = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, **kind)
    return [by_sgd, torch.optim.Adam(gate_groups, **kind)] if gates else [by_sgd]
