"""The tail of a signed sum of whole weights: ``P(sum_i w_i s_i >= total)``, s fair.

Bounded from above for every weight vector, however few, large or alike its entries, and
to within 1e-3 of p for nearly all. Under the tilt ``e^(t S)`` to the sum that was found
the weights' characteristic function

    phi(u) = prod_i (cos(u w_i) + i tanh(t w_i) sin(u w_i))

gives the tail by one inversion over the lattice of the sum's values, which have steps
of 2:

    P(S >= x) <= e^(K(t) - t x) 1/N sum_j phi(u_j) e^(-i u_j x) / d(u_j)

with ``d(u) = 1 - e^(-2 (t + i u))`` at N equidistant points of ``-pi/2 < u <= pi/2``.
It is an upper bound for every N and t, since what N points cannot tell apart is counted
at too much weight, and equal to the tail but for that. Where |phi| is provably small
(`_ceilings`) points are left out and their bound is added. Where that does not suffice,
near the middle, and so far out that it is of no account, the answer is ``3.178 Q(T)``
(`stats.ln_sign_tail`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.stats import ln_sign_tail, saddlepoint

Floats = NDArray[np.float64]
Weights = NDArray[np.int32]

LN_NEAR = math.log(0.05)  # bounds above this stay as they are,
LN_FAR = math.log(1e-150)  # and those below this
LEFT_OUT = 1e-4  # of the tail, at most, is bounded instead of summed
ROUNDING = 1e-11  # of the absolute sum of terms
MOST = 1 << 21  # factors of phi that are computed, about 0.1 s of them
STEEPEST = 60.0  # tilts beyond this change nothing: weights are whole numbers
OVERSAMPLED = 16  # points of a grid for each degree of a cosine polynomial


def ln_signed_tail(total: int, w: Weights) -> float:
    """Upper bound of ln P(sum of w s >= total) for independent fair signs s.

    Args:
        total: a whole number.
        w: int32 [n], fixed before the signs are drawn; |w| up to some thousand.

    Returns:
        At most 0; 0 where all weights are 0. At most `ln_sign_tail` of the normalised
        sum.
    """
    sizes = np.abs(w)
    counts = np.bincount(sizes) if sizes.size else np.zeros(1, np.int64)
    values = np.flatnonzero(counts[1:]) + 1
    if values.size == 0:
        return 0.0
    repeats = counts[values].astype(np.float64)
    squares = float(repeats @ (values.astype(np.float64) ** 2))
    bound = ln_sign_tail(total / math.sqrt(squares))
    if not LN_FAR < bound <= LN_NEAR:
        return bound
    step = int(np.gcd.reduce(values))
    values = values // step
    largest = int(counts[values * step] @ values)
    # Sums are the largest less multiples of two steps; the next one that reaches.
    missing = (largest * step - total) // (2 * step)
    if missing <= 0:
        return min(bound, -float(repeats.sum()) * math.log(2))
    inverted = _ln_inverted(int(missing), largest, values.astype(np.float64), repeats)
    return min(bound, inverted)


def _ln_inverted(missing: int, largest: int, v: Floats, repeats: Floats) -> float:
    """Ln P(S >= largest - 2 missing), or +inf where it would take too long."""
    x = float(largest - 2 * missing)

    def cgf(t: float) -> tuple[float, float, float]:
        slope = np.tanh(t * v)
        curvature = float(repeats @ (v * v * (1 - slope * slope)))
        return 0.0, float(repeats @ (v * slope)), curvature

    t = min(saddlepoint(cgf, x, STEEPEST), STEEPEST)
    if not t > 0:
        return math.inf
    spread = math.sqrt(max(cgf(t)[2], 1e-300))
    tilt = np.tanh(t * v)
    # Ln of the moment generating function times e^(-t x): products of 1 + e^(-2 t v)
    # over 2, and what `x` is below the largest sum.
    ln_scale = 2 * t * missing + float(
        repeats @ (np.log1p(np.exp(-2 * t * v)) - math.log(2))
    )
    degree = int(v[-1])
    cells = OVERSAMPLED << max(0, (degree - 1).bit_length())
    width = max(((t * spread) ** 2 / 2 + 16) / t, 12 * spread, 2.0 * cells)
    points = 1 << math.ceil(math.log2(width / 2))
    ceilings = _ceilings(v, repeats * (1 - tilt * tilt), cells)
    lower = np.pi / cells * np.arange(cells // 2)
    poles = np.full(cells // 2, -1 / math.expm1(-2 * t))
    poles[1:] = np.minimum(poles[1:], math.exp(t) / (2 * np.sin(lower[1:])))
    # Of each cell what its points add at most; the last point of all counts as half.
    parts = 2 * ceilings * poles / cells
    wanted = np.argsort(-parts, kind="stable")
    rest = np.append(np.cumsum(parts[wanted][::-1])[::-1], 0.0)
    allowed = LEFT_OUT / (1 + math.sqrt(2 * math.pi) * t * spread)
    used = int(np.argmax(rest <= allowed))
    each = points // cells
    # Of the first cell what lies beyond the peak around 0: y = u v is at most 0.2
    # there, and sin^2 y >= y^2 (1 - y^2 / 3), so that |phi(u_j)| <= e^(-fall j^2).
    fall = 0.49 * (spread * math.pi / points) ** 2
    peak = min(each, math.ceil(math.sqrt(30 / fall))) if fall else each
    beyond = 0.0
    if peak < each:
        beyond = -2 * poles[0] * math.exp(-fall * peak**2) / math.expm1(-fall * peak)
    if ((used - 1) * each + peak) * len(v) > MOST:
        return math.inf
    first = np.sort(wanted[:used])
    j = (first[:, None] * each + np.arange(each)).reshape(-1)
    j = np.append(j[(j < peak) | (j >= each)], points // 2)
    terms = _terms(j, points, t, x, v, tilt, repeats)
    # Terms of -u are the conjugates of those of u; 0 and pi/2 stand alone.
    shares = np.where(j % (points // 2) == 0, 1.0, 2.0)
    value = float(shares @ terms.real) + ROUNDING * float(shares @ np.abs(terms))
    value = (value + beyond) / points + float(rest[used])
    return ln_scale + math.log(value) if value > 0 else math.inf


def _ceilings(v: Floats, weight: Floats, cells: int) -> Floats:
    """Upper bounds of |phi| over ``pi c / cells <= u <= pi (c + 1) / cells``.

    ``|phi|^2 = prod (1 - a_v sin^2(u v))`` with ``a_v = sech^2(t v)``, so
    ``ln |phi| <= -(A - C(2 u)) / 4`` with the cosine polynomial ``C(y) = sum a_v
    cos(v y)`` and ``A = C(0)``. Between points of the grid C is at most the larger
    neighbour plus ``A d^2 h^2 / 2``, h half a step, since at a maximum inside its slope
    is 0 and by Bernstein ``|C''| <= A d^2``.
    """
    coefficients = np.zeros(cells)
    coefficients[v.astype(np.int64)] = weight
    c = np.fft.rfft(coefficients).real
    most = float(weight.sum())
    slack = most * (float(v[-1]) * math.pi / cells) ** 2 / 2 + 1e-9 * most
    tops = np.minimum(np.maximum(c[:-1], c[1:]) + slack, most)
    ceilings: Floats = np.exp(-(most - tops) / 4)
    return ceilings


def _terms(
    j: NDArray[np.int64],
    points: int,
    t: float,
    x: float,
    v: Floats,
    tilt: Floats,
    repeats: Floats,
) -> NDArray[np.complex128]:
    """What is summed, at the points j."""
    terms = np.empty(len(j), np.complex128)
    chunk = max(1, (1 << 17) // len(v))
    for at in range(0, len(j), chunk):
        u = np.pi / points * j[at : at + chunk]
        angles = u[:, None] * v
        factors = np.cos(angles) + 1j * (tilt * np.sin(angles))
        with np.errstate(divide="ignore"):  # a factor of 0: the product is 0
            ln_phi = np.log(factors) @ repeats
        pole = -np.expm1(-2 * (t + 1j * u))
        terms[at : at + chunk] = np.exp(ln_phi - 1j * u * x) / pole
    return terms
