"""Convolution with fewer multiplications: Winograd's F(m x m, r x r), with every transform a matrix product.

One dimension. The m outputs of a filter with r taps on n = m + r - 1 inputs are, for any n - 1 distinct points p,

    y = Aᵀ [ (G w) * (Bᵀ x) ]                                   (Winograd 1980; Lavin & Gray 2016, eq. 6)

Derivation (Toom and Cook, then transposed). The product of a polynomial w of degree r - 1 and a polynomial v of degree
m - 1 is fixed by its values at n - 1 points and its leading coefficient (the point "infinity"): with the Vandermonde
matrices V_r (n, r) and V_m (n, m), `w * v = C [(V_r w) * (V_m v)]`, C the interpolation. Correlation with w is the
transpose of the multiplication by w, v -> w * v, and transposing swaps C and V_m: `y = V_mᵀ [(V_r w) * (Cᵀ x)]`.
Column i of C is the Lagrange polynomial of p_i, `prod_{k != i} (t - p_k) / f_i`, and the last is `prod_k (t - p_k)`,
with f_n = 1. The division by `f_i = prod_{k != i} (p_i - p_k)` is moved to the filter's side, which is transformed less
often: `Aᵀ = V_mᵀ`, `G = diag(1 / f) V_r`, `Bᵀ = diag(f) Cᵀ`. That makes n multiplications instead of m r.

Two dimensions nest (eq. 8): `y = Aᵀ [(G w Gᵀ) * (Bᵀ x B)] A`, n² multiplications instead of (m r)². As a flat vector,
`Bᵀ x B = (Bᵀ ⊗ Bᵀ) vec(x)`, so that with tiles laid out by `im2col(kernel n, stride m)` a convolution is

    D = im2col(x)             tiles            (C, n², P)       P = tiles x examples
    V = (Bᵀ ⊗ Bᵀ) D           their transform  (C, n², P)
    M[e] = U[e] V[:, e]       n² products      (K, n², P)       U = (G ⊗ G) vec(w), (n², K, C)
    Y = (Aᵀ ⊗ Aᵀ) M           outputs          (K, m², P)
    y = col2im(Y)             tiles side by side

and the backward is the same five lines read upwards, each matrix transposed.

F(4x4, 5x5), the one for LeNet-5's second convolution, takes 64 multiplications for 400. The largest transforms have
8 points; float32 then agrees with im2col to about 4e-6.
"""

import math
from fractions import Fraction
from functools import cache

import numpy as np

from npl0.ops.conv import col2im, columns_shape, im2col
from npl0.runtime.scratch import Allocator, fresh

# Small integers and their inverses, in pairs of opposite sign: the usual choice for a small rounding error.
POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2"))


def supports(kernel_size: int, stride: int, tile: int) -> bool:
    """Say whether F(tile, kernel_size) is defined: stride 1 and no more than `len(POINTS) + 1` points."""
    return stride == 1 and kernel_size > 1 and tile + kernel_size - 2 <= len(POINTS)


def _polynomial(roots: list[Fraction], length: int) -> list[Fraction]:
    """Return the coefficients, lowest first, of `prod (t - root)`, filled up with zeros."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - root * c for s, c in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients + [Fraction(0)] * (length - len(coefficients))


@cache
def matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(Aᵀ, G, Bᵀ)` of F(m, r), float64, shapes (m, n), (n, r), (n, n), worked out in exact fractions.

    Raises
    ------
    ValueError
        If F(m, r) needs more points than there are.
    """
    n = m + r - 1
    if not supports(r, 1, m):
        raise ValueError(f"F({m}, {r}) needs {n - 1} points; at most {len(POINTS)} are known: take m + r <= 9")
    points = list(POINTS[: n - 1])
    others = [[q for q in points if q != p] for p in points]
    infinity = [0] * (n - 1)
    vandermonde_m = [[p**k for k in range(m)] for p in points] + [[*infinity[: m - 1], 1]]
    vandermonde_r = [[p**k for k in range(r)] for p in points] + [[*infinity[: r - 1], 1]]
    f = [Fraction(1)] * n
    for i, p in enumerate(points):
        for q in others[i]:
            f[i] *= p - q
    g = [[value / f[i] for value in row] for i, row in enumerate(vandermonde_r)]
    b_t = [_polynomial(rest, n) for rest in others] + [_polynomial(points, n)]
    return (
        np.array(vandermonde_m, dtype=np.float64).T.copy(),
        np.array(g, dtype=np.float64),
        np.array(b_t, dtype=np.float64),
    )


@cache
def tile_matrices(m: int, r: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `Aᵀ ⊗ Aᵀ` (m², n²), `G ⊗ G` (n², r²) and `Bᵀ ⊗ Bᵀ` (n², n²): the transforms of flattened tiles."""
    return tuple(np.kron(matrix, matrix).astype(dtype) for matrix in matrices(m, r))


def transform_weight(w: np.ndarray, m: int, new: Allocator = fresh) -> np.ndarray:
    """Compute `U[e, k, c] = ((G ⊗ G) vec(w[k, c]))[e]`, the same for every example.

    Parameters
    ----------
    w : (K, C, r, r); m : outputs of a tile along one axis.

    Returns
    -------
    U : (n², K, C), n = m + r - 1.
    """
    out_channels, in_channels, r, _ = w.shape
    g = tile_matrices(m, r, w.dtype)[1]
    u = new.kept("u", (len(g), out_channels, in_channels), w.dtype)
    np.matmul(g, w.reshape(-1, r * r).T, out=u.reshape(len(g), -1))
    return u


def transform_weight_backward(grad_u: np.ndarray, m: int, new: Allocator = fresh) -> np.ndarray:
    """Compute `vec(grad_w[k, c]) = (G ⊗ G)ᵀ grad_u[:, k, c]`, from (n², K, C) to (K, C, r, r), a view."""
    n2, out_channels, in_channels = grad_u.shape
    r = kernel_size(n2, m)
    g = tile_matrices(m, r, grad_u.dtype)[1]
    grad_w = new.temporary("grad_w", (r * r, out_channels * in_channels), grad_u.dtype)
    return (
        np.matmul(g.T, grad_u.reshape(n2, -1), out=grad_w)
        .reshape(r, r, out_channels, in_channels)
        .transpose(2, 3, 0, 1)
    )


def kernel_size(n2: int, m: int) -> int:
    """Return r of the F(m x m, r x r) that has n² points."""
    return math.isqrt(n2) + 1 - m


def conv2d_forward(
    x: np.ndarray, u: np.ndarray, b: np.ndarray | None, m: int, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the convolution of `npl0.ops.conv`, stride 1, by F(m x m, r x r).

    Parameters
    ----------
    x : (C, H, W, N), the output sides `H + 2 padding - r + 1` being multiples of m.
    u : (n², K, C), `transform_weight(w, m)`; b : (K,), or None for 0.

    Returns
    -------
    y : (K, out_h, out_w, N).
    v : (C, n², P), the transformed tiles, which the backward needs.

    Raises
    ------
    ValueError
        If an output side is not a multiple of m.
    """
    channels, height, width, examples = x.shape
    n2, out_channels = u.shape[:2]
    r = kernel_size(n2, m)
    n = m + r - 1
    out_h, out_w = height + 2 * padding - r + 1, width + 2 * padding - r + 1
    if out_h % m or out_w % m:
        raise ValueError(f"F({m}, {r}) needs output sides that are multiples of {m}, not {out_h} x {out_w}")
    a_t, _, b_t = tile_matrices(m, r, x.dtype)
    tiles = new.temporary("tiles", columns_shape(x.shape, n, n, m, padding), x.dtype)
    im2col(x, n, n, m, padding, tiles)
    tiles = tiles.reshape(channels, n2, -1)
    columns = tiles.shape[2]
    v = np.matmul(b_t, tiles, out=new.kept("v", tiles.shape, x.dtype))
    products = new.temporary("products", (out_channels, n2, columns), x.dtype)
    np.matmul(u, v.transpose(1, 0, 2), out=products.transpose(1, 0, 2))
    outputs = np.matmul(a_t, products, out=new.temporary("outputs", (out_channels, m * m, columns), x.dtype))
    if b is not None:
        outputs += b[:, None, None]
    y = new.output((out_channels, out_h, out_w, examples), x.dtype)
    return col2im(outputs.reshape(-1, columns), y.shape, m, m, m, 0, y), v


def conv2d_backward(
    grad_y: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    m: int,
    x_shape: tuple[int, ...],
    padding: int = 0,
    need_grad_x: bool = True,
    new: Allocator = fresh,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Differentiate the five lines of the forward, from the last to the first; `linear.bias_backward` has b.

    Returns
    -------
    grad_x : (C, H, W, N), `col2im((Bᵀ ⊗ Bᵀ)ᵀ dV)` with `dV[:, e] = U[e]ᵀ dM[e]`, or None unless `need_grad_x`.
    grad_w : (K, C, r, r), `(G ⊗ G)ᵀ dU` with `dU[e] = dM[e] V[:, e]ᵀ`; `dM = (Aᵀ ⊗ Aᵀ)ᵀ im2col(grad_y)`.
    """
    _, n2, columns = v.shape
    r = kernel_size(n2, m)
    n = m + r - 1
    a_t, _, b_t = tile_matrices(m, r, grad_y.dtype)
    out_channels = len(grad_y)
    grad_outputs = new.temporary("outputs", (out_channels * m * m, columns), v.dtype)
    im2col(grad_y, m, m, m, 0, grad_outputs)
    grad_products = np.matmul(
        a_t.T,
        grad_outputs.reshape(out_channels, m * m, columns),
        out=new.temporary("products", (out_channels, n2, columns), v.dtype),
    )
    by_point = grad_products.transpose(1, 0, 2)
    grad_u = np.matmul(by_point, v.transpose(1, 2, 0), out=new.temporary("grad_u", u.shape, u.dtype))
    grad_w = new.grad_weight((out_channels, len(v), r, r), v.dtype)
    grad_w[...] = transform_weight_backward(grad_u, m, new)
    if not need_grad_x:
        return None, grad_w
    grad_v = new.temporary("grad_v", v.shape, v.dtype)
    np.matmul(u.transpose(0, 2, 1), by_point, out=grad_v.transpose(1, 0, 2))
    grad_tiles = np.matmul(b_t.T, grad_v, out=new.temporary("tiles", v.shape, v.dtype))
    grad_x = new.grad_input(x_shape, v.dtype)
    return col2im(grad_tiles.reshape(-1, columns), x_shape, n, n, m, padding, grad_x), grad_w
