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
def adam_kernel(value, grad, m, v, step_size, rate1, rate2, epsilon, correction, weight_decay):
    """Compute `adam_reference` in one pass over memory."""
    for i in range(value.size):
        g = grad[i] + weight_decay * value[i]
        m[i] += rate1 * (g - m[i])
        v[i] += rate2 * (g * g - v[i])
        value[i] -= step_size * m[i] / (np.sqrt(v[i] * correction) + epsilon)


def sgd_reference(value, grad, velocity, learning_rate, momentum, weight_decay, nesterov) -> None:
    """Update by SGD with momentum (Polyak 1964) or Nesterov momentum.

    g = grad + weight_decay value
    velocity = momentum velocity + g
    value -= learning_rate velocity,  with Nesterov  value -= learning_rate (g + momentum velocity)

    Differs: Sutskever et al. 2013 scale each gradient by the rate as it enters the velocity. Here, as in PyTorch, the
    rate scales the velocity, so a new rate applies to past gradients too; with Nesterov, `value` is the point at which
    they take the gradient.
    """
    g = grad + weight_decay * value
    velocity[...] = momentum * velocity + g
    value -= learning_rate * (g + momentum * velocity if nesterov else velocity)


def adam_reference(value, grad, m, v, step_size, rate1, rate2, epsilon, correction, weight_decay) -> None:
    """Update by Adam (Kingma & Ba 2015, algorithm 1), with weight decay as an L2 term of the loss, not as in AdamW.

    g = grad + weight_decay value
    m += (1 - beta1) (g - m),  v += (1 - beta2) (g² - v)
    value -= step_size m / (sqrt(v correction) + epsilon)

    Scalars: at step t, `step_size = learning_rate / (1 - beta1^t)` and `correction = 1 / (1 - beta2^t)` are the bias
    corrections; `rate1 = 1 - beta1` and `rate2 = 1 - beta2`. The averages move by differences because beta2 itself,
    rounded to float32, would put 1 - beta2 off by 1.3e-5 of its value.
    """
    g = grad + weight_decay * value
    m += rate1 * (g - m)
    v += rate2 * (g * g - v)
    value -= step_size * m / (np.sqrt(v * correction) + epsilon)
