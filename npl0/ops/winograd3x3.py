"""Winograd's F(4x4, 3x3) and F(2x2, 3x3) with separable transforms, one block of tiles at a time.

`npl0.ops.winograd` derives the algorithm for any kernel size and transforms each tile by one matrix product. For 3 x 3,
the kernel of deep networks, that costs as much as the saved multiplications, so here the transforms are what the paper
intends: a few additions. With the points 0, 1, -1, 2, -2 and infinity, the matrices of F(4, 3) are

         | 4  0 -5  0  1  0 |        | 1  1  1  1  1  0 |         |  1/4    0     0  |
         | 0 -4 -4  1  1  0 |        | 0  1 -1  2 -2  0 |         | -1/6  -1/6  -1/6 |
    Bᵀ = | 0  4 -4 -1  1  0 |   Aᵀ = | 0  1  1  4  4  0 |    G =  | -1/6   1/6  -1/6 |
         | 0 -2 -1  2  1  0 |        | 0  1 -1  8 -8  1 |         |  1/24  1/12   1/6 |
         | 0  2 -1 -2  1  0 |                                     |  1/24 -1/12   1/6 |
         | 0  4  0 -5  0  1 |                                     |    0     0     1  |

(Lavin & Gray 2016, section 4.3). The rows of two opposite points differ only in the sign of their odd terms, so one
even and one odd sum serve both. A two-dimensional transform is two passes, over the rows of a tile and over its
columns. For a block of rows of tiles, with P = tiles of the block x N and n = m + 2, the forward pass is

    V = Bᵀ x B        (n², C, P)
    M[e] = U[e] V[e]  (n², K, P)     U = G w Gᵀ (n², K, C), computed once per step
    y = Aᵀ M A        the m x m outputs of every tile

and, since y is linear in x and in U, the backward pass is

    dM = A dy Aᵀ,   dU[e] = dM[e] V[e]ᵀ,   dV[e] = U[e]ᵀ dM[e],   dx = B dV Bᵀ,   dw = sum over blocks of Gᵀ dU G.

Blocks are as small as efficient matrix products allow, so that V and M stay in the outer cache; the backward pass
computes V again. Shapes and errors are those of `npl0.ops.winograd`, with r = 3.
"""

import numpy as np

from npl0.ops.winograd import output_sides, transform_weight_backward
from npl0.runtime.kernels import inlined, kernel
from npl0.runtime.scratch import Allocator, Shape, fresh

# Columns of a matrix product: with fewer, BLAS has too little work; with more, V and M do not fit the cache.
BLOCK_COLUMNS = 256
# Filters whose dU is in memory at a time; that of all filters would be n²/9 times as large as the weight.
BLOCK_FILTERS = 128

# The one-dimensional transforms: constants have the dtype of the arrays, because an integer times a float32 would be a
# float64; rows are taken as t[k, c, a], not from a view t[:, c, a], so that the compiler knows them to be contiguous.


@inlined
def to_points_1d(d, t, c, a):
    """Compute `t[:, c, a] = Bᵀ d` for d (n, lanes) or `t[:, c, a] = A d` for d (m, lanes); t is (n, C, rows, lanes)."""
    number = d.dtype.type
    two, four, five = number(2), number(4), number(5)
    d0, d1 = d[0], d[1]
    t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
    if len(t) == 6:
        d2, d3, t4, t5 = d[2], d[3], t[4, c, a], t[5, c, a]
        if len(d) == 6:
            d4, d5 = d[4], d[5]
            for q in range(d0.size):
                t0[q] = four * d0[q] - five * d2[q] + d4[q]
                even, odd = d4[q] - four * d2[q], d3[q] - four * d1[q]
                t1[q], t2[q] = even + odd, even - odd
                even, odd = d4[q] - d2[q], two * (d3[q] - d1[q])
                t3[q], t4[q] = even + odd, even - odd
                t5[q] = four * d1[q] - five * d3[q] + d5[q]
        else:
            for q in range(d0.size):
                t0[q] = d0[q]
                even, odd = d0[q] + d2[q], d1[q] + d3[q]
                t1[q], t2[q] = even + odd, even - odd
                even, odd = d0[q] + four * d2[q], two * (d1[q] + four * d3[q])
                t3[q], t4[q] = even + odd, even - odd
                t5[q] = d3[q]
    elif len(d) == 4:
        d2, d3 = d[2], d[3]
        for q in range(d0.size):
            t0[q] = d2[q] - d0[q]
            t1[q], t2[q] = d2[q] + d1[q], d2[q] - d1[q]
            t3[q] = d3[q] - d1[q]
    else:
        for q in range(d0.size):
            t0[q], t1[q], t2[q], t3[q] = d0[q], d0[q] + d1[q], d0[q] - d1[q], d1[q]


@inlined
def from_points_1d(t, c, a, d):
    """Compute the transposes: `d = B t[:, c, a]` for d (n, lanes) or `d = Aᵀ t[:, c, a]` for d (m, lanes)."""
    number = d.dtype.type
    two, four, five, eight = number(2), number(4), number(5), number(8)
    d0, d1 = d[0], d[1]
    t0, t1, t2, t3 = t[0, c, a], t[1, c, a], t[2, c, a], t[3, c, a]
    if len(t) == 6:
        d2, d3, t4, t5 = d[2], d[3], t[4, c, a], t[5, c, a]
        if len(d) == 6:
            d4, d5 = d[4], d[5]
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
            for q in range(d0.size):
                even_1, odd_1 = t1[q] + t2[q], t1[q] - t2[q]
                even_2, odd_2 = t3[q] + t4[q], t3[q] - t4[q]
                d0[q] = t0[q] + even_1 + even_2
                d1[q] = odd_1 + two * odd_2
                d2[q] = even_1 + four * even_2
                d3[q] = odd_1 + eight * odd_2 + t5[q]
    elif len(d) == 4:
        d2, d3 = d[2], d[3]
        for q in range(d0.size):
            d0[q] = -t0[q]
            d1[q] = t1[q] - t2[q] - t3[q]
            d2[q] = t0[q] + t1[q] + t2[q]
            d3[q] = t3[q]
    else:
        for q in range(d0.size):
            d0[q] = t0[q] + t1[q] + t2[q]
            d1[q] = t1[q] - t2[q] + t3[q]


@kernel
def to_points_kernel(x, window, first, padding, v):
    """Transform some rows of tiles: `V = Bᵀ x B` if window = n, `V = A x Aᵀ` if window = m.

    x is (C, H, W, N) and v is (n², C, rows, lanes), with lanes = tiles of a row x N. `first` is the first row of tiles.
    Tile (a, b) is the window x window pixels from pixel (a m - padding, b m - padding) on.
    """
    channels, height, width, examples = x.shape
    n2, _, rows, lanes = v.shape
    n = 6 if n2 == 36 else 4
    m, tiles = n - 2, lanes // examples
    d = np.empty((window, window, tiles, examples), x.dtype)
    t = np.empty((n, window, lanes), x.dtype)
    for c in range(channels):
        for a in range(rows):
            for i in range(window):
                h = (first + a) * m + i - padding
                for j in range(window):
                    for b in range(tiles):
                        w = b * m + j - padding
                        if 0 <= h < height and 0 <= w < width:
                            for e in range(examples):
                                d[i, j, b, e] = x[c, h, w, e]
                        else:
                            for e in range(examples):
                                d[i, j, b, e] = 0
            to_points_1d(d.reshape(window, window * lanes), t.reshape(n, 1, 1, window * lanes), 0, 0)
            for i in range(n):
                to_points_1d(t[i], v[i * n : i * n + n], c, a)


@kernel
def from_points_kernel(v, window, first, padding, x):
    """Compute the transpose of `to_points_kernel`: `x = Aᵀ V A` if window = m; `x += B V Bᵀ` if window = n.

    Windows of m lie side by side and are written; windows of n overlap and are added.
    """
    channels, height, width, examples = x.shape
    n2, _, rows, lanes = v.shape
    n = 6 if n2 == 36 else 4
    m, tiles = n - 2, lanes // examples
    t = np.empty((n, window, lanes), x.dtype)
    d = np.empty((window, window, tiles, examples), x.dtype)
    for c in range(channels):
        for a in range(rows):
            for i in range(n):
                from_points_1d(v[i * n : i * n + n], c, a, t[i])
            from_points_1d(t.reshape(n, 1, 1, window * lanes), 0, 0, d.reshape(window, window * lanes))
            for i in range(window):
                h = (first + a) * m + i - padding
                for j in range(window):
                    for b in range(tiles):
                        w = b * m + j - padding
                        if 0 <= h < height and 0 <= w < width:
                            if window == m:
                                for e in range(examples):
                                    x[c, h, w, e] = d[i, j, b, e]
                            else:
                                for e in range(examples):
                                    x[c, h, w, e] += d[i, j, b, e]


def _blocks(tile_rows: int, lanes: int) -> list[tuple[int, int]]:
    """Cut the rows of tiles into blocks of about `BLOCK_COLUMNS` columns, as (first row, number of rows)."""
    rows_per_block = min(tile_rows, -(-BLOCK_COLUMNS // lanes))
    return [(first, min(rows_per_block, tile_rows - first)) for first in range(0, tile_rows, rows_per_block)]


def conv2d_forward(
    x: np.ndarray, u: np.ndarray, b: np.ndarray | None, m: int, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `npl0.ops.winograd.conv2d_forward` for r = 3 and m = 4 or 2; return y, and x for the backward pass."""
    channels, examples, (n2, out_channels, _) = len(x), x.shape[3], u.shape
    if (m, n2) not in ((4, 36), (2, 16)):
        raise ValueError(f"F(4, 3) with 36 points and F(2, 3) with 16 are known here, not F({m}, 3) and {n2} points")
    out_h, out_w = output_sides(x, 3, m, padding)
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
    grad_y: np.ndarray, x: np.ndarray, u: np.ndarray, m: int, x_shape: Shape, padding=0, need_grad_x=True, new=fresh
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return `(grad_x, grad_w)`; grad_x is None unless `need_grad_x`. For b see `linear.bias_backward`."""
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
