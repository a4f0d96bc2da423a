"""Convolution by the kept weights alone, with stride 1: the sum runs over weights, not over windows.

    y[o, a, b, n] = bias[o] + sum over kept t = (o, c, i, j) of  w[t] x[c, a + i - padding, b + j - padding, n]

Two things make it fast. `LANES` images are taken at a time, whose numbers lie side by side, so that one instruction
serves them all; and a *tile* of 2 x 4 outputs, whose eight sums stay in registers while the weights of the filter pass
by. All that a tile sees, its *window* (in, 2 + k - 1, 4 + k - 1, LANES), is copied together first, zeros of the padding
included, so that tap (c, i, j) has the same offset at every tile. If filters have many weights, they pass in groups of
input channels, whose part of the window stays in the first-level cache.

Backward, with the same windows and tiles: the gradient of a kept weight is the dot product

    grad_w[t] = sum over a, b, n of  grad_y[o, a, b, n] x[c, a + i - padding, b + j - padding, n],    t = (o, c, i, j)

and grad_x is a convolution like the forward one, of grad_y with the filters turned around: kept weight (o, c, i, j)
belongs to filter c and reads channel o at tap (k - 1 - i, k - 1 - j), with padding k - 1 - padding.

The oracle of the kernels are `npl0.ops.conv.conv2d_forward` and `conv2d_backward`, with zeros for pruned weights.
Shapes: x (in, H, W, N), y (out, out_h, out_w, N).
"""

from dataclasses import dataclass

import numpy as np

from npl0.runtime.kernels import inlined, kernel
from npl0.sparse.vector import LANES, larger, load, splat, store

ROWS, COLS = 2, 4
TILE = ROWS * COLS * LANES
# Bytes of a window that stay in a first-level cache of 32 KB, beside the weights; and the fewest weights of a filter
# in a group that pay for loading and storing its sums.
_CACHED, _FEWEST = 24 << 10, 16


@dataclass(frozen=True)
class Taps:
    """Where the kept weights of a convolution are: in groups of input channels, in each filter by filter.

    Attributes
    ----------
    index : (kept,), the places of the weights in the flat dense array (out, in, k, k).
    used : the input channels that some weight reads; the window holds these alone.
    first : (groups, out + 1), where the weights of each filter begin among the kept ones.
    offset : (kept,), what the tap adds to an index of the window.
    size : k.
    """

    index: np.ndarray
    used: np.ndarray
    first: np.ndarray
    offset: np.ndarray
    size: int

    @classmethod
    def of(cls, mask: np.ndarray, turned: bool = False) -> "Taps":
        """Order the kept weights of a mask (out, in, k, k), or of the convolution turned around that makes grad_x."""
        index = np.arange(mask.size).reshape(mask.shape)
        if turned:
            mask, index = (array.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1] for array in (mask, index))
        used = np.flatnonzero(mask.any(axis=(0, 2, 3)))
        mask, index, size = mask[:, used], index[:, used], mask.shape[2]
        height, width = ROWS + size - 1, COLS + size - 1
        group = max(1, _CACHED // (height * width * LANES * 4))
        if np.count_nonzero(mask) * group < _FEWEST * len(mask) * len(used):
            group = max(1, len(used))
        firsts, offsets, indices, kept = [], [], [], 0
        for start in range(0, max(1, len(used)), group):
            o, c, i, j = np.nonzero(mask[:, start : start + group])
            firsts.append(kept + np.searchsorted(o, np.arange(len(mask) + 1)))
            offsets.append((((start + c) * height + i) * width + j) * LANES)
            indices.append(index[o, start + c, i, j])
            kept += len(o)
        offset = np.concatenate(offsets).astype(np.int32)
        return cls(np.concatenate(indices), used, np.array(firsts), offset, size)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels read."""
        return self.used, self.first, self.offset

    @property
    def scratch(self) -> tuple[int, int]:
        """The numbers that a kernel works with beside x and y: the window, and the sums of all filters."""
        window = len(self.used) * (ROWS + self.size - 1) * (COLS + self.size - 1) * LANES
        return window, (self.first.shape[1] - 1) * TILE


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Return zeros that begin at a cache line: a vector that straddles two takes twice the time."""
    memory = np.zeros(64 + size * dtype.itemsize, np.uint8)
    return memory[-memory.ctypes.data % 64 :][: size * dtype.itemsize].view(dtype)


@inlined
def _pack(x, used, top, left, n, size, window):
    """Copy what the tile whose window begins at (top, left) sees of the images from n on; zeros outside of x."""
    _, height, width, images = x.shape
    flat, lanes, p = x.reshape(-1), min(LANES, images - n), 0
    bottom, right = top + ROWS + size - 1, left + COLS + size - 1
    inside = top >= 0 and bottom <= height and left >= 0 and right <= width and lanes == LANES
    for c in used:
        for h in range(top, bottom):
            q = ((c * height + h) * width + left) * images + n
            for w in range(left, right):
                if inside:
                    store(window, p, load(flat, q))
                elif not (0 <= h < height and 0 <= w < width):
                    store(window, p, splat(window.dtype.type(0)))
                else:
                    for e in range(LANES):
                        window[p + e] = flat[q + e] if e < lanes else 0
                p += LANES
                q += images


@inlined
def _get(x, p, step, row):
    """Return the eight vectors of a tile, which lie `step` numbers apart, and its rows `row` numbers."""
    a, b, c, d = load(x, p), load(x, p + step), load(x, p + 2 * step), load(x, p + 3 * step)
    q = p + row
    return a, b, c, d, load(x, q), load(x, q + step), load(x, q + 2 * step), load(x, q + 3 * step)


@inlined
def _put(s, x, p, step, row):
    """Write the eight vectors of a tile."""
    s0, s1, s2, s3, s4, s5, s6, s7 = s
    store(x, p, s0)
    store(x, p + step, s1)
    store(x, p + 2 * step, s2)
    store(x, p + 3 * step, s3)
    store(x, p + row, s4)
    store(x, p + row + step, s5)
    store(x, p + row + 2 * step, s6)
    store(x, p + row + 3 * step, s7)


@inlined
def _add_taps(s, x, base, row, w, offset, begin, end):
    """Add the taps begin..end of a filter to the eight sums of a tile."""
    s0, s1, s2, s3, s4, s5, s6, s7 = s
    for t in range(begin, end):
        v = splat(w[t])
        x0, x1, x2, x3, x4, x5, x6, x7 = _get(x, base + offset[t], LANES, row)
        s0, s1, s2, s3 = s0 + v * x0, s1 + v * x1, s2 + v * x2, s3 + v * x3
        s4, s5, s6, s7 = s4 + v * x4, s5 + v * x5, s6 + v * x6, s7 + v * x7
    return s0, s1, s2, s3, s4, s5, s6, s7


@inlined
def _at_least(s, v):
    """Raise what is below v to v."""
    s0, s1, s2, s3, s4, s5, s6, s7 = s
    a, b, c, d = larger(v, s0), larger(v, s1), larger(v, s2), larger(v, s3)
    return a, b, c, d, larger(v, s4), larger(v, s5), larger(v, s6), larger(v, s7)


@inlined
def convolve(x, w, used, first, offset, bias, size, padding, floor, pool, direct, window, sums, y):
    """Fill y with max(W x + b, floor), and if pool is 2 only with the largest of 2 x 2 outputs.

    If `direct`, there are `LANES` images, no padding and only whole tiles, and the offsets are those of taps in x: then
    nothing is copied.
    """
    filters, out_h, out_w, images = y.shape
    width, flat, least = x.shape[2], y.reshape(-1), splat(floor)
    source, row = (x.reshape(-1), width * LANES) if direct else (window, (COLS + size - 1) * LANES)
    for a in range(0, out_h * pool, ROWS):
        for b in range(0, out_w * pool, COLS):
            for n in range(0, images, LANES):
                base = (a * width + b) * LANES if direct else 0
                if not direct:
                    _pack(x, used, a - padding, b - padding, n, size, window)
                rows, cols, lanes = min(ROWS, out_h * pool - a), min(COLS, out_w * pool - b), min(LANES, images - n)
                whole = rows == ROWS and cols == COLS and lanes == LANES
                for g in range(len(first)):
                    for o in range(filters):
                        v, p = splat(bias[o]), o * TILE
                        q = ((o * out_h + a // pool) * out_w + b // pool) * images + n
                        s = _get(sums, p, LANES, COLS * LANES) if g else (v, v, v, v, v, v, v, v)
                        s = _add_taps(s, source, base, row, w, offset, first[g, o], first[g, o + 1])
                        if g < len(first) - 1 or not whole:
                            _put(s, sums, p, LANES, COLS * LANES)
                        elif pool == 2:
                            s0, s1, s2, s3, s4, s5, s6, s7 = s
                            store(flat, q, larger(least, larger(larger(s0, s1), larger(s4, s5))))
                            store(flat, q + images, larger(least, larger(larger(s2, s3), larger(s6, s7))))
                        else:
                            _put(_at_least(s, least), flat, q, images, out_w * images)
                if not whole:
                    _write_part(sums, a // pool, b // pool, n, rows // pool, cols // pool, lanes, floor, pool, y)


@inlined
def _write_part(sums, a, b, n, rows, cols, lanes, floor, pool, y):
    """Write, number by number, what there is of a tile of all filters."""
    for o in range(len(y)):
        for i in range(rows):
            for j in range(cols):
                for e in range(lanes):
                    p, v = o * TILE + (i * COLS + j) * pool * LANES + e, floor
                    for cell in range(pool * pool):
                        other = sums[p + (cell // 2 * COLS + cell % 2) * LANES]
                        v = v if other <= v else other
                    y[o, a + i, b + j, n + e] = v


@kernel
def convolve_kernel(x, w, used, first, offset, bias, size, padding, floor, pool, direct, window, sums, y):
    """Call `convolve`."""
    convolve(x, w, used, first, offset, bias, size, padding, floor, pool, direct, window, sums, y)


@inlined
def convolve_one(x, w, used, first, offset, bias, size, padding, floor, pool, padded, maps, y):
    """Fill y with the same for one image, (out, out_h, out_w), of x (in, H, W).

    With one image, vectors are `LANES` neighbouring pixels. The map with its padding is laid out row after row; so the
    tap (i, j) of all pixels is the same row of numbers, i width + j further on, and a tile is eight vectors in a row.
    What it computes where a row ends and the next begins is not used.
    """
    _, height, width = x.shape
    filters, out_h, out_w = y.shape
    wide = width + 2 * padding
    area, flat, k = (height + 2 * padding) * wide, x.reshape(-1), 0
    for c in used:
        padded[k : k + area] = 0
        for h in range(height):
            p, q = k + (h + padding) * wide + padding, (c * height + h) * width
            for i in range(width):
                padded[p + i] = flat[q + i]
        k += area
    pixels = out_h * pool * wide
    room = (pixels + TILE - 1) // TILE * TILE
    for p in range(0, pixels - size + 1, TILE):
        for g in range(len(first)):
            for o in range(filters):
                v, q = splat(bias[o]), o * room + p
                s = _get(maps, q, LANES, COLS * LANES) if g else (v, v, v, v, v, v, v, v)
                s = _add_taps(s, padded, p, COLS * LANES, w, offset, first[g, o], first[g, o + 1])
                _put(s, maps, q, LANES, COLS * LANES)
    for o in range(filters):
        for a in range(out_h):
            for b in range(out_w):
                p = o * room + (a * wide + b) * pool
                v = max(floor, maps[p])
                if pool == 2:
                    v = max(max(v, maps[p + 1]), max(maps[p + wide], maps[p + wide + 1]))
                y[o, a, b] = v


@kernel
def weight_gradient_kernel(x, grad_y, used, first, offset, size, padding, window, sums, totals):
    """Fill totals (kept, LANES) with the dot products, lane by lane; their sums over the lanes are the gradient."""
    filters, out_h, out_w, images = grad_y.shape
    row, flat, parts = (COLS + size - 1) * LANES, grad_y.reshape(-1), totals.reshape(-1)
    totals[:] = 0
    for a in range(0, out_h, ROWS):
        for b in range(0, out_w, COLS):
            for n in range(0, images, LANES):
                _pack(x, used, a - padding, b - padding, n, size, window)
                rows, cols, lanes = min(ROWS, out_h - a), min(COLS, out_w - b), min(LANES, images - n)
                for o in range(filters):
                    p, q = o * TILE, ((o * out_h + a) * out_w + b) * images + n
                    if rows == ROWS and cols == COLS and lanes == LANES:
                        _put(_get(flat, q, images, out_w * images), sums, p, LANES, COLS * LANES)
                        continue
                    sums[p : p + TILE] = 0
                    for i in range(rows):
                        for j in range(cols):
                            for e in range(lanes):
                                sums[p + (i * COLS + j) * LANES + e] = flat[q + (i * out_w + j) * images + e]
                for g in range(len(first)):
                    for o in range(filters):
                        g0, g1, g2, g3, g4, g5, g6, g7 = _get(sums, o * TILE, LANES, COLS * LANES)
                        for t in range(first[g, o], first[g, o + 1]):
                            x0, x1, x2, x3, x4, x5, x6, x7 = _get(window, offset[t], LANES, row)
                            upper = load(parts, t * LANES) + g0 * x0 + g1 * x1 + g2 * x2 + g3 * x3
                            store(parts, t * LANES, upper + (g4 * x4 + g5 * x5 + g6 * x6 + g7 * x7))
