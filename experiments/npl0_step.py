"""The side of npl0 in `bench_training.py`: its training step, where the time of it goes, and what BLAS could reach."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from measuring import best_ms
from npl0.nn import build_model
from npl0.nn.layers import Context
from npl0.nn.network import Network
from npl0.pruning import L0, Pruner
from npl0.runtime.scratch import Scratch, ShardMemory
from npl0.runtime.threads import Workers
from npl0.training.optimizers import build_optimizer
from step_setting import GATE_LEARNING_RATE, MOMENTUM, Setting

SGEMM_SIZE, SGEMM_REPEATS = 1536, 10

Parts = dict[str, Callable[[int], Any]]


def npl0_step(setting: Setting) -> tuple[Network, Parts]:
    """Return the network, and the parts of the step of `npl0.training.loop.train_stage` as functions of the step's number."""
    recipe, workers = setting.recipe, Workers(setting.threads)
    network = build_model(setting.model, width=setting.width, mean=recipe.mean, std=recipe.std)
    gates = {"log_alpha_init": recipe.log_alpha_init, "l0_lambda": recipe.l0_lambda}
    if setting.variant == "gated":
        pruner = L0(network, recipe.images, gate_learning_rate=GATE_LEARNING_RATE, **gates)
    else:
        pruner = Pruner(network)
    pruner.workers = workers
    groups = pruner.groups(recipe.learning_rate, recipe.weight_decay)
    optimizer = build_optimizer(recipe.optimizer, groups, MOMENTUM)
    images, labels, order = setting.data()

    def loss_and_gradients(i: int) -> None:
        picked = order[i % len(order)]
        network.loss_and_gradients(images[picked], labels[picked], workers, (0, 0, i))

    return network, {
        "pruner.write_weights": pruner.write_weights,
        "network.loss_and_gradients": loss_and_gradients,
        "pruner.read_gradients": lambda i: pruner.read_gradients(),
        "optimizer.step": lambda i: optimizer.step(workers),
        "pruner.after_step": lambda i: pruner.after_step(),
    }


def step_macs(network: Network, batch: int) -> int:
    """Return the multiply-adds of a step as dense matrix products would do them.

    Forward, weight gradient and input gradient have equally many; the first layer has no input gradient.
    """
    macs = [row.macs for row in network.summary() if row.macs]
    return batch * (3 * sum(macs) - macs[0])


def sgemm_gflops(threads: int) -> float:
    """Return the GFLOP/s of large float32 products as npl0 uses BLAS: one on each thread; the best of several runs."""
    a, b = np.random.default_rng(0).random((2, SGEMM_SIZE, SGEMM_SIZE), np.float32)
    outs = [np.empty_like(a) for _ in range(threads)]
    with Workers(threads) as workers:
        ms = best_ms(lambda: workers.map(lambda out: np.matmul(a, b, out=out), outs), SGEMM_REPEATS)
    return threads * 2 * SGEMM_SIZE**3 / ms / 1e6


def profile(setting: Setting, repeats: int) -> dict[str, Any]:
    """Time every layer on one shard, and every part of whole steps; ms, the smallest of the repeats after a first call.

    Returns
    -------
    layers : a row for each, and one for all: name, prepare, forward, backward, and the GFLOP/s of these three together.
    parts : the time of each part of a step.
    sgemm_gflops : what BLAS reaches on one thread.
    """
    network, parts = npl0_step(setting)
    layers, macs = network.layers, [row.macs for row in network.summary()]
    first = next(i for i, layer in enumerate(layers) if layer.parameters)
    shard = setting.data()[0][: min(network.shard_size, setting.batch)]
    x = np.ascontiguousarray(np.moveaxis(shard, 0, -1), dtype=network.dtype)
    memory, contexts, caches, times = ShardMemory(), [], [], []
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
            # A copy, for layers write their gradients into two arrays in turn: called again, a layer writes into the
            # array that it read the last time.
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
