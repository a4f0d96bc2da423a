"""npl0's side of `bench_training.py`: the training step, the time that each part of it takes, and the speed of BLAS."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from measuring import best_ms
from npl0.nn.base import Context
from npl0.nn.models import build_model
from npl0.nn.network import Network
from npl0.pruning.base import Pruner
from npl0.pruning.l0 import L0
from npl0.runtime.scratch import Memory, Scratch
from npl0.runtime.threads import Workers
from npl0.training.loop import Stage
from npl0.training.recipe import Recipe
from step_setting import GATE_LEARNING_RATE, MOMENTUM, Setting

SGEMM_SIZE, SGEMM_REPEATS = 1536, 10

Parts = dict[str, Callable[[int], Any]]


def npl0_step(setting: Setting) -> tuple[Network, Parts]:
    """Return the network, and the five calls of a training step as functions of the step's number."""
    workload, workers = setting.workload, Workers(setting.threads).__enter__()
    network = build_model(setting.model, width=setting.width, mean=workload.mean, std=workload.std)
    if setting.variant == "gated":
        pruner = L0(
            network,
            l0_lambda=workload.l0_lambda,
            gate_learning_rate=GATE_LEARNING_RATE,
            gate_schedule="constant",
            log_alpha_init=workload.log_alpha_init,
            ramp_epochs=0.0,
        )
    else:
        pruner = Pruner(network)
    pruner.workers = workers
    recipe = Recipe(
        batch_size=setting.batch,
        optimizer=workload.optimizer,
        learning_rate=workload.learning_rate,
        momentum=MOMENTUM,
        weight_decay=workload.weight_decay,
        schedule="constant",
    )
    stage = Stage("train", recipe)
    optimizer = stage.begin(pruner, workload.images)
    images, labels, order = setting.data()

    def loss_and_gradients(i: int) -> None:
        picked = order[i % len(order)]
        network.loss_and_gradients(images[picked], labels[picked], workers, (0, 0, i))

    return network, {
        "pruner.write_weights": lambda i: pruner.write_weights(stage.step(i, len(order))),
        "network.loss_and_gradients": loss_and_gradients,
        "pruner.read_gradients": lambda i: pruner.read_gradients(stage.step(i, len(order))),
        "optimizer.step": lambda i: optimizer.step(workers, stage.step(i, len(order))),
        "pruner.after_step": lambda i: pruner.after_step(stage.step(i, len(order))),
    }


def step_macs(network: Network, batch: int) -> int:
    """Return the multiply-adds of a step if every layer were a dense matrix product.

    Forward pass, weight gradient and input gradient need the same number; the first layer has no input gradient.
    """
    macs = [row.macs for row in network.summary() if row.macs]
    return batch * (3 * sum(macs) - macs[0])


def sgemm_gflops(threads: int) -> float:
    """Return the GFLOP/s of large float32 products, one per thread, as npl0 uses BLAS; the best of several runs."""
    a, b = np.random.default_rng(0).random((2, SGEMM_SIZE, SGEMM_SIZE), np.float32)
    outs = [np.empty_like(a) for _ in range(threads)]
    with Workers(threads) as workers:
        ms = best_ms(lambda: workers.map(lambda out: np.matmul(a, b, out=out), outs), SGEMM_REPEATS)
    return threads * 2 * SGEMM_SIZE**3 / ms / 1e6


def profile(setting: Setting, repeats: int) -> dict[str, Any]:
    """Time every layer on one shard and one thread, and every part of whole steps on all threads.

    Returns
    -------
    layers : one row per layer, and one for all: name, prepare, forward and backward in ms, and the GFLOP/s of the three
        together. Each time is the shortest of the repeats after a first call.
    parts : the time in ms of each part of a step.
    sgemm_gflops : the speed of BLAS on one thread.
    """
    network, parts = npl0_step(setting)
    layers, macs = network.layers, [row.macs for row in network.summary()]
    first = next(i for i, layer in enumerate(layers) if layer.parameters)
    shard = setting.data()[0][: min(network.shard_size, setting.batch)]
    x = np.ascontiguousarray(np.moveaxis(shard, 0, -1), dtype=network.dtype)
    memory, contexts, caches, times = Memory(), [], [], []
    for layer in layers:
        new = Scratch(memory)
        context = Context(training=True, new=new, prepared=layer.prepare(new))
        y, cache = layer.forward(x, context)
        prepare_ms = best_ms(lambda layer=layer, new=new: layer.prepare(new), repeats)
        forward_ms = best_ms(lambda x=x, layer=layer, context=context: layer.forward(x, context), repeats)
        times.append([prepare_ms, forward_ms, 0.0])
        x = y
        contexts.append(context)
        caches.append(cache)
    grad = np.random.default_rng(0).standard_normal(x.shape, np.float32)
    for i in reversed(range(first, len(layers))):
        back = (grad, caches[i], contexts[i], i > first)
        grad, _ = layers[i].backward(*back)
        if i > first:
            # Gradients alternate between two arrays, so the second call of a layer would overwrite the gradient that
            # it reads; let it read a copy.
            grad = grad.copy()
        times[i][2] = best_ms(lambda i=i, back=back: layers[i].backward(*back), repeats)
    flops = [2 * len(shard) * count * (3 - (i == first)) for i, count in enumerate(macs)]
    names = [layer.name for layer in layers]
    totals = [sum(column) for column in zip(*times, strict=True)]
    rows = [
        [name, *row, count / sum(row) / 1e6]
        for name, row, count in zip([*names, "all"], [*times, totals], [*flops, sum(flops)], strict=True)
    ]
    for part in parts.values():
        part(0)
    best = dict.fromkeys(parts, math.inf)
    for i in range(repeats):
        best.update({name: min(best[name], best_ms(lambda i=i, part=part: part(i))) for name, part in parts.items()})
    return {"layers": rows, "parts": best, "sgemm_gflops": sgemm_gflops(1)}
