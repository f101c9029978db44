"""Finding and reading the sign code of `noise`, in plain Python. See `reference`."""

from __future__ import annotations

from watermark.kernels.reference import Numbers, integers, stream

STEPS = 8  # bytes of a mark id, one trellis step each
START_STATES = 8  # start states that the tail-biting search tries


def pilot_search(
    weights: Numbers, state: bytes, nonce_bits: int, keep: int
) -> list[tuple[int, int]]:
    """The nonces whose keyed signs agree best with the pilot coordinates.

    A first pass counts agreeing signs over the first 2,048 coordinates and keeps the
    best tenth (at least `keep`, ties kept); the second ranks those by the exact sum.

    Args:
        weights: one signed integer per pilot coordinate, |w| <= 1024.
        state: 16 bytes; the signs of nonce v are the bits of ``stream(state, v, ...)``,
            least significant first, 1 meaning minus.
        nonce_bits: nonces 0 to 2**nonce_bits - 1 are searched.
        keep: how many to return.

    Returns:
        (sum, nonce) pairs, largest sum first, smaller nonce first among equals.
    """
    weights = integers(weights)
    count = len(weights)
    hard = [1 if w < 0 else 0 for w in weights]
    head = min(count, 2048)
    agree = []
    for nonce in range(1 << nonce_bits):
        bits = _bits(stream(state, nonce, (count + 31) // 32))
        agree.append(sum(hard[i] == bits[i] for i in range(head)))
    wanted = min(len(agree), max(keep, len(agree) // 10))
    cut = sorted(agree, reverse=True)[wanted - 1]
    scored = []
    for nonce, value in enumerate(agree):
        if value >= cut:
            bits = _bits(stream(state, nonce, (count + 31) // 32))
            total = sum(-w if bits[i] else w for i, w in enumerate(weights))
            scored.append((total, nonce))
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:keep]


def _bits(data: bytes) -> list[int]:
    return [(byte >> k) & 1 for byte in data for k in range(8)]


def code_bits(masks: Numbers, mark_id: bytes) -> bytes:
    """The coded bit of each data coordinate: a tail-biting byte trellis.

    Coordinate k belongs to step ``i = k % 8`` and has a 16-bit mask; its bit is the
    parity of ``mask & (b[i-1] << 8 | b[i])``, where b are the bytes of `mark_id` and
    b[-1] is the last.
    """
    pairs = [mark_id[i - 1] << 8 | mark_id[i] for i in range(STEPS)]
    masks = integers(masks)
    return bytes((m & pairs[k % STEPS]).bit_count() & 1 for k, m in enumerate(masks))


def trellis_decode(masks: Numbers, values: Numbers) -> tuple[int, bytes]:
    """The mark id that agrees best with `values`, and its agreement.

    Branch metrics of all 65,536 byte pairs of a step come from one Walsh-Hadamard
    transform; `tail_biting` searches the paths.

    Args:
        masks: as for `code_bits`.
        values: one signed integer per coordinate, its keyed sign already removed.

    Returns:
        (sum, mark_id) with ``sum = sum(value * (-1)**bit)`` over the coordinates.
    """
    masks, values = integers(masks), integers(values)
    metrics = []
    for step in range(STEPS):
        table = [0] * 65536
        for k in range(step, len(masks), STEPS):
            table[masks[k]] += values[k]
        metrics.append(_walsh_hadamard(table))
    return tail_biting(metrics, START_STATES)


def tail_biting(metrics: list[list[int]], most: int) -> tuple[int, bytes]:
    """The closed path through 256 states with the largest sum, all but exactly.

    Two laps of unconstrained Viterbi rank the end states. In that order they are
    decoded with the path forced to end where it began, until none of the rest can do
    better: two laps of a closed path are one way to its end state, so its sum is at
    most half of that state's rank. Then the path is the best there is; after `most`
    states it may not be.

    Args:
        metrics: of each step the branch from state p to s at ``p << 8 | s``.
        most: end states that are tried.

    Returns:
        (sum, states): the state after each step, the last also before the first.
    """
    rank = [0] * 256
    for metric in metrics + metrics:
        rank = _viterbi_step(rank, metric)[0]
    best: tuple[int, bytes] | None = None
    for start in sorted(range(256), key=lambda s: (-rank[s], s))[:most]:
        if best is not None and 2 * best[0] >= rank[start]:
            break
        total, path = _viterbi_from(start, metrics)
        if best is None or total > best[0]:
            best = (total, path)
    return best if best is not None else (0, bytes(len(metrics)))


def _walsh_hadamard(table: list[int]) -> list[int]:
    half = 1
    while half < len(table):
        for i in range(0, len(table), 2 * half):
            for j in range(i, i + half):
                a, b = table[j], table[j + half]
                table[j], table[j + half] = a + b, a - b
        half *= 2
    return table


def _viterbi_step(before: list[int], metric: list[int]) -> tuple[list[int], list[int]]:
    after, origin = [], []
    for state in range(256):
        scores = [before[p] + metric[p << 8 | state] for p in range(256)]
        top = max(scores)
        after.append(top)
        origin.append(scores.index(top))
    return after, origin


def _viterbi_from(start: int, metrics: list[list[int]]) -> tuple[int, bytes]:
    scores = [metrics[0][start << 8 | state] for state in range(256)]
    origins: list[list[int]] = []
    for metric in metrics[1:]:
        scores, origin = _viterbi_step(scores, metric)
        origins.append(origin)
    state, path = start, [start]
    for origin in reversed(origins):
        state = origin[state]
        path.append(state)
    return scores[start], bytes(reversed(path))
