"""One evening: train LeNet-300-100 on MNIST with a gate on every weight, prune it, and retrain what is left.

Examples are columns, a layer is y = W x + b, and the weights of all layers lie in one flat array, w = theta z.
"""

import gzip
from pathlib import Path

import numpy as np

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1  # the temperature of a gate, and the limits to which it is stretched
LAMBDA, RAMP = 12.0, 6  # lambda, and the epochs over which it rises from 0
SHAPES, BATCH, RATE, GATE_RATE = [(300, 784), (100, 300), (10, 100)], 128, 2e-3, 3e-2


def read_idx(name):  # a header of big-endian integers (the number of axes is byte 3), then one byte per pixel
    file = Path(__file__).resolve().parents[2] / "npl0" / "data" / "files" / f"{name}-ubyte.gz"
    raw = gzip.decompress(file.read_bytes())
    shape = np.frombuffer(raw, ">u4", raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def columns(images):  # uint8 (n, 28, 28) -> float32 (784, n) with mean 0 and deviation 1
    return (images.reshape(len(images), -1).T - np.float32(33.3)) / np.float32(78.6)


def layers(flat, shapes):  # views of a flat array, one per layer
    ends = np.cumsum([m * n for m, n in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def forward(w, b, x):  # y = W x + b, and a ReLU before the next layer
    inputs = []
    for weight, bias in zip(layers(w, SHAPES), layers(b, [(m, 1) for m, _ in SHAPES]), strict=True):
        inputs.append(x)
        y = weight @ x + bias
        x = np.maximum(y, 0)
    return y, inputs


def cross_entropy(y, labels):  # mean of log(sum exp y) - y[label], and its gradient (softmax(y) - onehot) / n
    n = np.arange(len(labels))
    p = np.exp(y - y.max(axis=0))
    p /= p.sum(axis=0)
    loss = -np.log(p[labels, n] + 1e-30).mean()
    p[labels, n] -= 1
    return loss, p / len(labels)


def backward(w, inputs, dy):  # dW = dy x^T,  db = sum of dy,  dx = W^T dy where the ReLU let x through
    dw, db = [], []
    for weight, x in zip(layers(w, SHAPES)[::-1], inputs[::-1], strict=True):
        dw.insert(0, (dy @ x.T).ravel())
        db.insert(0, dy.sum(axis=1))
        dy = (weight.T @ dy) * (x > 0)
    return np.concatenate(dw), np.concatenate(db)


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def draw_gates(log_alpha, u):  # s = sigmoid((log u - log(1 - u) + log_alpha) / beta), stretched, then clipped
    s = sigmoid((np.log(u) - np.log(1 - u) + log_alpha) / BETA)
    return np.clip(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def gate_slope(z):  # dz/dlog_alpha = (zeta - gamma) s (1 - s) / beta, in terms of z; 0 where z was clipped
    return (z - GAMMA) * (ZETA - z) / ((ZETA - GAMMA) * BETA) * ((z > 0) & (z < 1))


def open_probability(log_alpha):  # P(z > 0)
    return sigmoid(log_alpha - BETA * float(np.log(-GAMMA / ZETA)))


def fixed_gates(log_alpha):  # no noise, no temperature: one fixed value, exactly 0 where log_alpha <= -2.398
    return np.clip(sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA, 0, 1)


def adam(value, m, v, gradient, rate, t):  # m and v are running means of the gradient and of its square
    m += 0.1 * (gradient - m)
    v += 0.001 * (gradient * gradient - v)
    value -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def train(images, labels, theta, b, log_alpha, epochs, rng):  # moves theta, b and log_alpha
    moved = [(a, np.zeros_like(a), np.zeros_like(a)) for a in (theta, b, log_alpha)]
    for epoch in range(epochs):
        losses, factor = [], 0.1 if epoch >= 0.7 * epochs else 1.0
        batches = np.split(rng.permutation(len(labels)), range(BATCH, len(labels), BATCH))
        for t, batch in enumerate(batches, start=1 + epoch * len(batches)):
            x = columns(np.roll(images[batch], rng.integers(-1, 2, 2), axis=(1, 2)))  # shifted by up to one pixel
            z = draw_gates(log_alpha, rng.random(len(theta), "f4").clip(2.0**-25))
            w = theta * z
            y, inputs = forward(w, b, x)
            loss, dy = cross_entropy(y, labels[batch])
            dw, db = backward(w, inputs, dy)
            price = LAMBDA / len(labels) * min(1, t / (RAMP * len(batches)))
            p = open_probability(log_alpha)
            gradients = dw * z, db, dw * theta * gate_slope(z) + price * p * (1 - p)
            for (value, m, v), gradient, rate in zip(moved, gradients, (RATE, RATE, GATE_RATE), strict=True):
                adam(value, m, v, gradient, factor * rate, t)
            losses.append(loss)
        kept, expected = np.count_nonzero(fixed_gates(log_alpha)), open_probability(log_alpha).sum()
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {kept:,} weights kept, {expected:,.0f} expected")


def main(n_train=60_000, epochs=16, retrain_epochs=4, seed=0):
    rng = np.random.default_rng(seed)
    images, labels = read_idx("train-images-idx3")[:n_train], read_idx("train-labels-idx1")[:n_train]
    test_x, test_labels = columns(read_idx("t10k-images-idx3")), read_idx("t10k-labels-idx1")
    theta = np.concatenate([rng.normal(0, (2 / n) ** 0.5, m * n) for m, n in SHAPES]).astype("f4")
    b, log_alpha = np.zeros(sum(m for m, n in SHAPES), "f4"), rng.normal(2.2, 0.01, len(theta)).astype("f4")

    def accuracy():
        return (forward(theta * fixed_gates(log_alpha), b, test_x)[0].argmax(axis=0) == test_labels).mean()

    train(images, labels, theta, b, log_alpha, epochs, rng)
    trained = accuracy()
    theta *= fixed_gates(log_alpha)  # pruning writes down what the test used, zeros included
    log_alpha[:] = np.where(theta == 0, -40, 40)  # so far out, noise moves no gate: each is 0 or 1 for good
    pruned = accuracy()
    train(images, labels, theta, b, log_alpha, retrain_epochs, rng)
    result = trained, pruned, accuracy(), len(theta) / np.count_nonzero(theta)
    print("trained {:.2%}, pruned {:.2%}, retrained {:.2%}, {:.1f}x".format(*result))
    return result


if __name__ == "__main__":
    main()
