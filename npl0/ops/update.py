"""In-place updates of a parameter by SGD and Adam, each a kernel and its NumPy reference.

Arrays are flat, and arrays and scalars have one float dtype.
"""

import numpy as np

from npl0.runtime.kernels import kernel


@kernel
def sgd_kernel(value, grad, velocity, learning_rate, momentum, weight_decay, nesterov):
    """Compute `sgd_reference` in one pass over memory."""
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        velocity[i] = momentum * velocity[i] + g
        direction = g + momentum * velocity[i] if nesterov else velocity[i]
        value[i] -= learning_rate * direction


@kernel
def adam_kernel(value, grad, m, v, step_size, beta1, beta2, epsilon, correction, weight_decay):
    """Compute `adam_reference` in one pass over memory."""
    one = np.float32(1)
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        m[i] = beta1 * m[i] + (one - beta1) * g
        v[i] = beta2 * v[i] + (one - beta2) * g * g
        value[i] -= step_size * m[i] / (np.sqrt(v[i] * correction) + epsilon)


def sgd_reference(value, grad, velocity, learning_rate, momentum, weight_decay, nesterov) -> None:
    """Update by SGD with (Nesterov) momentum, in the form of Sutskever et al. 2013 that PyTorch uses.

    g = grad + weight_decay value
    velocity = momentum velocity + g
    value -= learning_rate velocity,  with Nesterov  value -= learning_rate (g + momentum velocity)
    """
    g = grad + weight_decay * value
    velocity[...] = momentum * velocity + g
    value -= learning_rate * (g + momentum * velocity if nesterov else velocity)


def adam_reference(value, grad, m, v, step_size, beta1, beta2, epsilon, correction, weight_decay) -> None:
    """Update by Adam (Kingma & Ba 2015, algorithm 1).

    g = grad + weight_decay value
    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g²
    value -= step_size m / (sqrt(v correction) + epsilon)

    Both bias corrections are scalars: at step t, `step_size = learning_rate / (1 - beta1^t)` and
    `correction = 1 / (1 - beta2^t)`.
    """
    g = grad + weight_decay * value
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    value -= step_size * m / (np.sqrt(v * correction) + epsilon)
