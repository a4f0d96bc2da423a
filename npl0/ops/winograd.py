"""Convolution with fewer multiplications: Winograd's F(m x m, r x r), with every transform a matrix product.

In one dimension, F(m, r) computes m outputs of a filter w with r taps from n = m + r - 1 inputs x. It takes n
multiplications instead of m r:

    y = Aᵀ [ (G w) * (Bᵀ x) ]                                   (Winograd 1980; Lavin & Gray 2016, eq. 6)

The matrices come from the multiplication of polynomials (Toom and Cook). Let w have degree r - 1 and v degree m - 1.
Their product is determined by its values at n - 1 distinct points p_i and by its leading coefficient (the "point at
infinity"). Let V_k (n, k) evaluate a polynomial with k coefficients there, and let C (n, n) interpolate. Then
`w v = C [(V_r w) * (V_m v)]`. Column i of C is the Lagrange polynomial `prod_{k != i} (t - p_k) / f_i` with
`f_i = prod_{k != i} (p_i - p_k)`; the last column is `prod_k (t - p_k)`, with f_n = 1.

Correlation with w is the transpose of v -> w v, and transposing swaps C and V_m: `y = V_mᵀ [(V_r w) * (Cᵀ x)]`. The
division by f_i moves to the filter, which is transformed less often than x:

    Aᵀ = V_mᵀ,   G = diag(1 / f) V_r,   Bᵀ = diag(f) Cᵀ.

Two dimensions nest (eq. 8): `y = Aᵀ [(G w Gᵀ) * (Bᵀ x B)] A`, with n² multiplications instead of (m r)². For flattened
tiles `Bᵀ x B = (Bᵀ ⊗ Bᵀ) vec(x)`, and im2col with windows of n and stride m cuts x into tiles, so a convolution is

    D = im2col(x)             input tiles           (C, n², P)       P = tiles of one example x N
    V = (Bᵀ ⊗ Bᵀ) D           their transforms      (C, n², P)
    M[e] = U[e] V[:, e]       n² products           (K, n², P)       U = (G ⊗ G) vec(w), (n², K, C)
    Y = (Aᵀ ⊗ Aᵀ) M           output tiles          (K, m², P)
    y = col2im(Y)             side by side

The backward pass goes through the same five lines in reverse, each matrix transposed:

    dM = (Aᵀ ⊗ Aᵀ)ᵀ im2col(dy),   dU[e] = dM[e] V[:, e]ᵀ,   dw = (G ⊗ G)ᵀ dU,
    dV[:, e] = U[e]ᵀ dM[e],   dx = col2im((Bᵀ ⊗ Bᵀ)ᵀ dV).

F(4x4, 5x5), which suits the second convolution of LeNet-5, takes 64 multiplications instead of 400. With 8 points, the
most supported here, float32 results agree with im2col to about 4e-6.

Shapes: x (C, H, W, N), w (K, C, r, r), b (K,), y (K, out_h, out_w, N). The stride is 1. Both output sides must be
multiples of m; `conv2d_forward` raises ValueError if they are not.
"""

import math
from functools import cache

import numpy as np
from numpy.polynomial.polynomial import polyfromroots

from npl0.ops.conv import col2im_kernel, im2col_kernel
from npl0.runtime.scratch import Allocator, Shape, fresh

# Small integers and their inverses in pairs of opposite sign: the usual choice for small rounding errors.
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


def supports(kernel_size: int, stride: int, tile: int) -> bool:
    """Return whether F(tile, kernel_size) is defined: stride 1 and at most `len(POINTS) + 1` points."""
    return stride == 1 and kernel_size > 1 and tile + kernel_size - 2 <= len(POINTS)


@cache
def matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(Aᵀ, G, Bᵀ)` of F(m, r), float64 (m, n), (n, r) and (n, n); ValueError if it needs too many points."""
    n = m + r - 1
    if not supports(r, 1, m):
        raise ValueError(f"F({m}, {r}) needs {n - 1} points; at most {len(POINTS)} are known: take m + r <= 9")
    # The points are multiples of 1/2, so everything but the division by f is exact in float64.
    points = np.array(POINTS[: n - 1])
    others = [np.delete(points, i) for i in range(n - 1)]
    v_m, v_r = (np.vstack([np.vander(points, k, increasing=True), np.eye(k)[-1]]) for k in (m, r))
    f = np.array([*((p - rest).prod() for p, rest in zip(points, others, strict=True)), 1.0])
    b_t = np.zeros((n, n))
    for row, roots in zip(b_t, [*others, points], strict=True):
        row[: len(roots) + 1] = polyfromroots(roots)
    # Adding 0 turns -0 into 0.
    return v_m.T.copy(), v_r / f[:, None] + 0.0, b_t + 0.0


@cache
def tile_matrices(m: int, r: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `Aᵀ ⊗ Aᵀ` (m², n²), `G ⊗ G` (n², r²) and `Bᵀ ⊗ Bᵀ` (n², n²): the transforms of flattened tiles."""
    return tuple(np.kron(matrix, matrix).astype(dtype) for matrix in matrices(m, r))


def kernel_size(n2: int, m: int) -> int:
    """Return r of the F(m x m, r x r) that has n² points."""
    return math.isqrt(n2) + 1 - m


def output_sides(x: np.ndarray, r: int, m: int, padding: int) -> tuple[int, int]:
    """Return the height and width of y; raise ValueError if they are not multiples of m."""
    out_h, out_w = (side + 2 * padding - r + 1 for side in x.shape[1:3])
    if out_h % m or out_w % m:
        raise ValueError(f"F({m}, {r}) needs output sides that are multiples of {m}, not {out_h} x {out_w}")
    return out_h, out_w


def transform_weight(w: np.ndarray, m: int, new: Allocator = fresh) -> np.ndarray:
    """Return U (n², K, C), `U[:, k, c] = (G ⊗ G) vec(w[k, c])`, for tiles of m x m outputs."""
    out_channels, in_channels, r, _ = w.shape
    g = tile_matrices(m, r, w.dtype)[1]
    u = new.kept("u", (len(g), out_channels, in_channels), w.dtype)
    np.matmul(g, w.reshape(-1, r * r).T, out=u.reshape(len(g), -1))
    return u


def transform_weight_backward(grad_u: np.ndarray, m: int, new: Allocator = fresh) -> np.ndarray:
    """Return grad_w (K, C, r, r), `vec(grad_w[k, c]) = (G ⊗ G)ᵀ grad_u[:, k, c]`, as a view of temporary memory."""
    n2, out_channels, in_channels = grad_u.shape
    r = kernel_size(n2, m)
    g = tile_matrices(m, r, grad_u.dtype)[1]
    grad_w = new.temporary("grad_w", (r * r, out_channels * in_channels), grad_u.dtype)
    np.matmul(g.T, grad_u.reshape(n2, -1), out=grad_w)
    return grad_w.reshape(r, r, out_channels, in_channels).transpose(2, 3, 0, 1)


def conv2d_forward(
    x: np.ndarray, u: np.ndarray, b: np.ndarray | None, m: int, padding: int = 0, new: Allocator = fresh
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `npl0.ops.conv.conv2d_forward` at stride 1, given `u = transform_weight(w, m)`; return y and V."""
    channels, examples, (n2, out_channels, _) = len(x), x.shape[3], u.shape
    r = kernel_size(n2, m)
    n = m + r - 1
    out_h, out_w = output_sides(x, r, m, padding)
    grid = out_h // m, out_w // m, examples
    a_t, _, b_t = tile_matrices(m, r, x.dtype)
    tiles = new.temporary("tiles", (channels, n, n, *grid), x.dtype)
    im2col_kernel(x, m, padding, tiles)
    tiles = tiles.reshape(channels, n2, -1)
    v = np.matmul(b_t, tiles, out=new.kept("v", tiles.shape, x.dtype))
    products = new.temporary("products", (out_channels, n2, tiles.shape[2]), x.dtype)
    np.matmul(u, v.transpose(1, 0, 2), out=products.transpose(1, 0, 2))
    outputs = np.matmul(a_t, products, out=new.temporary("outputs", (out_channels, m * m, tiles.shape[2]), x.dtype))
    if b is not None:
        outputs += b[:, None, None]
    y = new.output((out_channels, out_h, out_w, examples), x.dtype)
    col2im_kernel(outputs.reshape(out_channels, m, m, *grid), m, 0, y)
    return y, v


def conv2d_backward(
    grad_y: np.ndarray, v: np.ndarray, u: np.ndarray, m: int, x_shape: Shape, padding=0, need_grad_x=True, new=fresh
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return `(grad_x, grad_w)`; grad_x is None unless `need_grad_x`. For b see `linear.bias_backward`."""
    (channels, n2, columns), (out_channels, out_h, out_w, examples) = v.shape, grad_y.shape
    r = kernel_size(n2, m)
    n, grid = m + r - 1, (out_h // m, out_w // m, examples)
    a_t, _, b_t = tile_matrices(m, r, grad_y.dtype)
    grad_outputs = new.temporary("outputs", (out_channels, m, m, *grid), v.dtype)
    im2col_kernel(grad_y, m, 0, grad_outputs)
    grad_products = new.temporary("products", (out_channels, n2, columns), v.dtype)
    by_point = np.matmul(a_t.T, grad_outputs.reshape(out_channels, m * m, -1), out=grad_products).transpose(1, 0, 2)
    grad_u = np.matmul(by_point, v.transpose(1, 2, 0), out=new.temporary("grad_u", u.shape, u.dtype))
    grad_w = new.grad_weight((out_channels, channels, r, r), v.dtype)
    grad_w[...] = transform_weight_backward(grad_u, m, new)
    if not need_grad_x:
        return None, grad_w
    grad_v = new.temporary("grad_v", v.shape, v.dtype)
    np.matmul(u.transpose(0, 2, 1), by_point, out=grad_v.transpose(1, 0, 2))
    grad_tiles = np.matmul(b_t.T, grad_v, out=new.temporary("tiles", v.shape, v.dtype))
    grad_x = new.grad_input(x_shape, v.dtype)
    col2im_kernel(grad_tiles.reshape(channels, n, n, *grid), m, padding, grad_x)
    return grad_x, grad_w
