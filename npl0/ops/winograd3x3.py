"""Winograd's F(4x4, 3x3) and F(2x2, 3x3) with separable transforms, a block of tiles at a time.

`npl0.ops.winograd` derives the algorithm for any kernel and transforms tiles by one matrix product. For 3 x 3, the
kernel of deep networks, the transforms cost as much as the multiplications that they save, so here they are what the
paper intends: a few additions. With the points 0, 1, -1, 2, -2 and infinity the matrices of F(4, 3) are

         | 4  0 -5  0  1  0 |        | 1  1  1  1  1  0 |         |  1/4    0     0  |
         | 0 -4 -4  1  1  0 |        | 0  1 -1  2 -2  0 |         | -1/6  -1/6  -1/6 |
    Bᵀ = | 0  4 -4 -1  1  0 |   Aᵀ = | 0  1  1  4  4  0 |    G =  | -1/6   1/6  -1/6 |
         | 0 -2 -1  2  1  0 |        | 0  1 -1  8 -8  1 |         |  1/24  1/12   1/6 |
         | 0  2 -1 -2  1  0 |                                     |  1/24 -1/12   1/6 |
         | 0  4  0 -5  0  1 |                                     |    0     0     1  |

(Lavin & Gray 2016, section 4.3). The rows of p and -p differ in the sign of their odd terms only, so one even and one
odd sum serve both; that is all there is to the functions `..._1d`. Two dimensions are two passes, over the rows of a
tile and over its columns. The five lines of `npl0.ops.winograd` become, for a block of rows of tiles,

    V = Bᵀ x B        (n², C, P)     P = tiles of the block x examples, n = m + 2
    M[e] = U[e] V[e]  (n², K, P)     U = G w Gᵀ, once a step
    y = Aᵀ M A        the m x m outputs of every tile

and, since y is linear in x and in U, the backward is

    dM = A dy Aᵀ,   dU[e] = dM[e] V[e]ᵀ,   dV[e] = U[e]ᵀ dM[e],   dx = B dV Bᵀ,   dw = sum over blocks of Gᵀ dU G.

A block is as small as matrix products allow, so that V and M stay in the outer cache; the backward computes V again.
"""

import numpy as np

from npl0.ops.winograd import transform_weight_backward
from npl0.runtime.kernels import inlined, kernel
from npl0.runtime.scratch import Allocator, fresh

# Columns of a matrix product: fewer leave BLAS too little work, more push V and M out of the cache.
BLOCK_COLUMNS = 256
# Filters whose dU is in memory at a time; of all of them it would be n²/9 times the weight.
BLOCK_FILTERS = 128

# One dimension: rows to rows. Numbers have the type of the arrays: an integer times a float32 would be a float64. Rows
# are t[k, c, a], not those of a view t[:, c, a]: that they are contiguous is then in their type, and makes fast loops.


@inlined
def input_1d(d, t, c, a):
    """Compute `t[:, c, a] = Bᵀ d`, d (n, lanes), t (n, C, rows, lanes)."""
    number = d.dtype.type
    two, four, five = number(2), number(4), number(5)
    if len(t) == 6:
        d0, d1, d2, d3, d4, d5 = d[0], d[1], d[2], d[3], d[4], d[5]
        t0, t1, t2, t3, t4, t5 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a], t[4, c, a], t[5, c, a]
        for q in range(d0.size):
            t0[q] = four * d0[q] - five * d2[q] + d4[q]
            even, odd = d4[q] - four * d2[q], d3[q] - four * d1[q]
            t1[q], t2[q] = even + odd, even - odd
            even, odd = d4[q] - d2[q], two * (d3[q] - d1[q])
            t3[q], t4[q] = even + odd, even - odd
            t5[q] = four * d1[q] - five * d3[q] + d5[q]
    else:
        d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
        t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
        for q in range(d0.size):
            t0[q] = d2[q] - d0[q]
            t1[q], t2[q] = d2[q] + d1[q], d2[q] - d1[q]
            t3[q] = d3[q] - d1[q]


@inlined
def input_transposed_1d(t, c, a, d):
    """Compute `d = B t[:, c, a]`, d (n, lanes), t (n, C, rows, lanes)."""
    number = d.dtype.type
    two, four, five = number(2), number(4), number(5)
    if len(t) == 6:
        d0, d1, d2, d3, d4, d5 = d[0], d[1], d[2], d[3], d[4], d[5]
        t0, t1, t2, t3, t4, t5 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a], t[4, c, a], t[5, c, a]
        for q in range(d0.size):
            even_1, odd_1 = t1[q] + t2[q], t1[q] - t2[q]
            even_2, odd_2 = t3[q] + t4[q], two * (t3[q] - t4[q])
            d0[q] = four * t0[q]
            d1[q] = four * (t5[q] - odd_1) - odd_2
            d2[q] = -five * t0[q] - four * even_1 - even_2
            d3[q] = odd_1 + odd_2 - five * t5[q]
            d4[q] = t0[q] + even_1 + even_2
            d5[q] = t5[q]
    else:
        d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
        t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
        for q in range(d0.size):
            d0[q] = -t0[q]
            d1[q] = t1[q] - t2[q] - t3[q]
            d2[q] = t0[q] + t1[q] + t2[q]
            d3[q] = t3[q]


@inlined
def output_1d(t, c, a, d):
    """Compute `d = Aᵀ t[:, c, a]`, d (m, lanes), t (n, C, rows, lanes)."""
    number = d.dtype.type
    two, four, eight = number(2), number(4), number(8)
    if len(t) == 6:
        d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
        t0, t1, t2, t3, t4, t5 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a], t[4, c, a], t[5, c, a]
        for q in range(d0.size):
            even_1, odd_1 = t1[q] + t2[q], t1[q] - t2[q]
            even_2, odd_2 = t3[q] + t4[q], t3[q] - t4[q]
            d0[q] = t0[q] + even_1 + even_2
            d1[q] = odd_1 + two * odd_2
            d2[q] = even_1 + four * even_2
            d3[q] = odd_1 + eight * odd_2 + t5[q]
    else:
        d0, d1 = d[0], d[1]
        t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
        for q in range(d0.size):
            d0[q] = t0[q] + t1[q] + t2[q]
            d1[q] = t1[q] - t2[q] + t3[q]


@inlined
def output_transposed_1d(d, t, c, a):
    """Compute `t[:, c, a] = A d`, d (m, lanes), t (n, C, rows, lanes)."""
    number = d.dtype.type
    two, four = number(2), number(4)
    if len(t) == 6:
        d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
        t0, t1, t2, t3, t4, t5 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a], t[4, c, a], t[5, c, a]
        for q in range(d0.size):
            t0[q] = d0[q]
            even, odd = d0[q] + d2[q], d1[q] + d3[q]
            t1[q], t2[q] = even + odd, even - odd
            even, odd = d0[q] + four * d2[q], two * (d1[q] + four * d3[q])
            t3[q], t4[q] = even + odd, even - odd
            t5[q] = d3[q]
    else:
        d0, d1 = d[0], d[1]
        t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
        for q in range(d0.size):
            t0[q], t1[q], t2[q], t3[q] = d0[q], d0[q] + d1[q], d0[q] - d1[q], d1[q]


@kernel
def to_points_kernel(x, window, first, padding, v):
    """Transform the tiles of some rows: `V = Bᵀ x B` where window = n, `V = A x Aᵀ` where window = m.

    x (C, H, W, N); v (n², C, rows, lanes), lanes = tiles of a row x examples; `first` is the first row of tiles, and a
    tile reads `window` x `window` pixels, every m, from -padding on.
    """
    channels, height, width, examples = x.shape
    n2, _, rows, lanes = v.shape
    n = 6 if n2 == 36 else 4
    m = n - 2
    d = np.empty((window, window, lanes), x.dtype)
    t = np.empty((n, window, lanes), x.dtype)
    for c in range(channels):
        for a in range(rows):
            for i in range(window):
                h = (first + a) * m + i - padding
                for j in range(window):
                    target = d[i, j]
                    for b in range(lanes // examples):
                        w = b * m + j - padding
                        q = b * examples
                        if 0 <= h < height and 0 <= w < width:
                            source = x[c, h, w]
                            for e in range(examples):
                                target[q + e] = source[e]
                        else:
                            for e in range(examples):
                                target[q + e] = 0
            if window == n:
                input_1d(d.reshape(n, window * lanes), t.reshape(n, 1, 1, window * lanes), 0, 0)
                for i in range(n):
                    input_1d(t[i], v[i * n : i * n + n], c, a)
            else:
                output_transposed_1d(d.reshape(m, window * lanes), t.reshape(n, 1, 1, window * lanes), 0, 0)
                for i in range(n):
                    output_transposed_1d(t[i], v[i * n : i * n + n], c, a)


@kernel
def from_points_kernel(v, window, first, padding, x):
    """Transpose `to_points_kernel`: `x = Aᵀ V A` where window = m; `x += B V Bᵀ`, windows overlapping, for n."""
    channels, height, width, examples = x.shape
    n2, _, rows, lanes = v.shape
    n = 6 if n2 == 36 else 4
    m = n - 2
    t = np.empty((n, window, lanes), x.dtype)
    d = np.empty((window, window, lanes), x.dtype)
    for c in range(channels):
        for a in range(rows):
            if window == n:
                for i in range(n):
                    input_transposed_1d(v[i * n : i * n + n], c, a, t[i])
                input_transposed_1d(t.reshape(n, 1, 1, window * lanes), 0, 0, d.reshape(n, window * lanes))
            else:
                for i in range(n):
                    output_1d(v[i * n : i * n + n], c, a, t[i])
                output_1d(t.reshape(n, 1, 1, window * lanes), 0, 0, d.reshape(m, window * lanes))
            for i in range(window):
                h = (first + a) * m + i - padding
                for j in range(window):
                    source = d[i, j]
                    for b in range(lanes // examples):
                        w = b * m + j - padding
                        q = b * examples
                        if 0 <= h < height and 0 <= w < width:
                            target = x[c, h, w]
                            if window == m:
                                for e in range(examples):
                                    target[e] = source[q + e]
                            else:
                                for e in range(examples):
                                    target[e] += source[q + e]


def _blocks(tile_rows: int, lanes: int) -> list[tuple[int, int]]:
    """Cut the rows of tiles into blocks of about `BLOCK_COLUMNS` columns, as (first row, number of rows)."""
    step = min(tile_rows, -(-BLOCK_COLUMNS // lanes))
    return [(first, min(step, tile_rows - first)) for first in range(0, tile_rows, step)]


def conv2d_forward(
    x: np.ndarray, u: np.ndarray, b: np.ndarray | None, m: int, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the convolution of `npl0.ops.conv`, 3 x 3 and stride 1.

    Parameters
    ----------
    x : (C, H, W, N), the output sides `H + 2 padding - 2` being multiples of m; m : 4 or 2.
    u : (n², K, C), `npl0.ops.winograd.transform_weight(w, m)`; b : (K,), or None for 0.

    Returns
    -------
    y : (K, out_h, out_w, N).
    x : what the backward needs.

    Raises
    ------
    ValueError
        If u is not that of F(4, 3) or F(2, 3), or an output side is not a multiple of m.
    """
    channels, height, width, examples = x.shape
    n2, out_channels = u.shape[:2]
    if (m, n2) not in ((4, 36), (2, 16)):
        raise ValueError(f"F(4, 3) of 36 points and F(2, 3) of 16 are known here, not F({m}, 3) and {n2} points")
    out_h, out_w = height + 2 * padding - 2, width + 2 * padding - 2
    if out_h % m or out_w % m:
        raise ValueError(f"F({m}, 3) needs output sides that are multiples of {m}, not {out_h} x {out_w}")
    lanes = out_w // m * examples
    y = new.output((out_channels, out_h, out_w, examples), x.dtype)
    for first, rows in _blocks(out_h // m, lanes):
        v = new.temporary("v", (n2, channels, rows, lanes), x.dtype)
        products = new.temporary("products", (n2, out_channels, rows, lanes), x.dtype)
        to_points_kernel(x, m + 2, first, padding, v)
        np.matmul(u, v.reshape(n2, channels, -1), out=products.reshape(n2, out_channels, -1))
        from_points_kernel(products, m, first, 0, y)
    if b is not None:
        y += b[:, None, None, None]
    return y, x


def conv2d_backward(
    grad_y: np.ndarray,
    x: np.ndarray,
    u: np.ndarray,
    m: int,
    x_shape: tuple[int, ...],
    padding: int = 0,
    need_grad_x: bool = True,
    new: Allocator = fresh,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Differentiate the forward, block by block; `linear.bias_backward` has b.

    Returns
    -------
    grad_x : (C, H, W, N), `B dV Bᵀ` with `dV[e] = U[e]ᵀ dM[e]`, or None unless `need_grad_x`; `dM = A grad_y Aᵀ`.
    grad_w : (K, C, 3, 3), `Gᵀ dU G` with `dU[e] = dM[e] V[e]ᵀ`.
    """
    channels, examples = x.shape[0], x.shape[3]
    out_channels, out_h, out_w, _ = grad_y.shape
    n2, lanes = len(u), out_w // m * examples
    grad_w = new.grad_weight((out_channels, channels, 3, 3), u.dtype)
    grad_w[...] = 0
    grad_x = new.grad_input(x_shape, x.dtype) if need_grad_x else None
    if grad_x is not None:
        grad_x[...] = 0
    for first, rows in _blocks(out_h // m, lanes):
        v = new.temporary("v", (n2, channels, rows, lanes), x.dtype)
        grad_products = new.temporary("products", (n2, out_channels, rows, lanes), x.dtype)
        to_points_kernel(x, m + 2, first, padding, v)
        to_points_kernel(grad_y, m, first, 0, grad_products)
        by_point, columns = grad_products.reshape(n2, out_channels, -1), v.reshape(n2, channels, -1)
        for k in range(0, out_channels, BLOCK_FILTERS):
            filters = by_point[:, k : k + BLOCK_FILTERS]
            grad_u = new.temporary("grad_u", (n2, filters.shape[1], channels), u.dtype)
            np.matmul(filters, columns.transpose(0, 2, 1), out=grad_u)
            grad_w[k : k + BLOCK_FILTERS] += transform_weight_backward(grad_u, m, new)
        if grad_x is not None:
            np.matmul(u.transpose(0, 2, 1), by_point, out=columns)  # dV takes the place of V
            from_points_kernel(v, m + 2, first, padding, grad_x)
    return grad_x, grad_w
