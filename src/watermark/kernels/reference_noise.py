"""Finding and reading a sign code, in plain Python. See `reference`."""

from __future__ import annotations

import struct

from watermark.kernels.reference import Numbers, integers, siphash128, stream

STEPS = 8  # bytes of a mark id, one trellis step each
START_STATES = 8  # start states that the tail-biting search tries
HEAD = 2048  # signs of a first look at the pilot
PLAIN = 12  # standard deviations beyond which a nonce has no rival
NONCE_BYTES = 12  # of a listed nonce


def keyed_order(state: bytes, size: int) -> bytes:
    """The indices 0 to ``size - 1`` in the order of their keyed words.

    The key of index i is word pair i of ``stream(state, 0, 2 * size)``, as a
    little-endian 64-bit integer; equal keys keep their order.

    Returns:
        `size` little-endian 64-bit integers.
    """
    keys = struct.unpack(f"<{size}Q", stream(state, 0, 2 * size))
    return struct.pack(f"<{size}q", *sorted(range(size), key=keys.__getitem__))


def pilot_search(
    weights: Numbers, state: bytes, nonce_bits: int, keep: int
) -> list[tuple[int, int]]:
    """The nonces whose keyed signs agree best with the pilot coordinates.

    A pass counts agreeing signs over a head of the coordinates, takes the best nonces
    by that (ties kept), and ranks those by the exact sum. One looks at five eighths (at
    least 2,048) and takes one nonce in 32 (at least 16 `keep`): of marks just strong
    enough to be read it loses about one in 1,000. Where that head is 8,192 or longer, a
    quick pass goes first; it looks at 2,048 and takes one in 1,024 (at least `keep`). A
    mark in plain sight, with a sum of `PLAIN` standard deviations, ends the search
    there.

    Args:
        weights: one signed integer per pilot coordinate, |w| <= 1024, the sum of all
            |w| below 2**30.
        state: 16 bytes; the signs of nonce v are the bits of ``stream(state, v, ...)``,
            least significant first, 1 meaning minus.
        nonce_bits: nonces 0 to 2**nonce_bits - 1 are searched.
        keep: how many to return.

    Returns:
        (sum, nonce) pairs, largest sum first, smaller nonce first among equals.
    """
    weights = integers(weights)
    count = len(weights)
    words = (count + 31) // 32
    signs = [_bits(stream(state, nonce, words)) for nonce in range(1 << nonce_bits)]
    best: list[tuple[int, int]] = []
    longest = min(count, max(HEAD, 5 * count // 8))
    passes = [(HEAD, keep, 1024), (longest, 16 * keep, 32)]
    for head, least, share in passes if longest >= 4 * HEAD else passes[1:]:
        wanted = min(len(signs), max(least, len(signs) // share))
        best = _ranked(weights, signs, head, wanted)[:keep]
        if wanted == len(signs) or _plain(best[0][0], weights):
            break
    return best


def listed_search(
    weights: Numbers, state: bytes, nonces: bytes, keep: int
) -> list[tuple[int, int]]:
    """Of listed nonces those whose keyed signs agree best with the pilot coordinates.

    As the second pass of `pilot_search`.

    Args:
        weights: as there.
        state: 16 bytes; the signs of a nonce v are the bits of
            ``stream(siphash128(state, v), 0, ...)``.
        nonces: 12 bytes each.
        keep: how many to return.

    Returns:
        (sum, place in the list) pairs, largest sum first, earlier place first among
        equals.
    """
    weights = integers(weights)
    count = len(weights)
    listed = [
        siphash128(state, nonces[at : at + NONCE_BYTES])
        for at in range(0, len(nonces), NONCE_BYTES)
    ]
    signs = [_bits(stream(one, 0, (count + 31) // 32)) for one in listed]
    wanted = min(len(signs), max(16 * keep, len(signs) // 32))
    head = min(count, max(HEAD, 5 * count // 8))
    return _ranked(weights, signs, head, wanted)[:keep]


def _ranked(
    weights: list[int], signs: list[list[int]], head: int, wanted: int
) -> list[tuple[int, int]]:
    """Sums of those `wanted` nonces whose signs agree best over the head, in order."""
    agree = [
        sum((w < 0) == bit for w, bit in zip(weights[:head], bits, strict=False))
        for bits in signs
    ]
    cut = sorted(agree, reverse=True)[wanted - 1] if wanted else 0
    scored = [
        (sum(-w if bits[i] else w for i, w in enumerate(weights)), nonce)
        for nonce, bits in enumerate(signs)
        if agree[nonce] >= cut
    ]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))


def _plain(total: int, weights: list[int]) -> bool:
    return total > 0 and total * total >= PLAIN * PLAIN * sum(w * w for w in weights)


def _bits(data: bytes) -> list[int]:
    return [(byte >> k) & 1 for byte in data for k in range(8)]


def pilot_sums(
    weights: Numbers, order_state: bytes, state: bytes, nonce: int
) -> tuple[list[int], list[int]]:
    """Of several arrays at once the statistic of one nonce, under one key.

    Args:
        weights: [size, columns], one array in each column.
        order_state: of `keyed_order`; the first quarter of it is the pilot.
        state: of the pilot's signs, as for `pilot_search`.
        nonce: the nonce.

    Returns:
        (the signed sums over the pilot, the sums of squares), one for each column.
    """
    size, columns = len(weights), len(weights[0])
    pilot = struct.unpack(f"<{size}q", keyed_order(order_state, size))[: size // 4]
    bits = _bits(stream(state, nonce, (len(pilot) + 31) // 32))
    rows = [integers(weights[i]) for i in pilot]
    sums, squares = [0] * columns, [0] * columns
    for row, bit in zip(rows, bits, strict=False):
        for j, value in enumerate(row):
            sums[j] += -value if bit else value
            squares[j] += value * value
    return sums, squares


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
    return tail_biting(_branches(masks, values), START_STATES)


def trellis_rivals(masks: Numbers, values: Numbers, mark_id: bytes) -> list[list[int]]:
    """The agreements of all mark ids that differ from `mark_id` in one byte at most.

    Args:
        masks: as for `code_bits`.
        values: as for `trellis_decode`.
        mark_id: 8 bytes.

    Returns:
        [8][256]: the sum, as of `trellis_decode`, with byte i replaced by each value.
    """
    metrics = _branches(masks, values)

    def total(path: bytes) -> int:
        return sum(metrics[i][path[i - 1] << 8 | path[i]] for i in range(STEPS))

    return [
        [total(mark_id[:i] + bytes([b]) + mark_id[i + 1 :]) for b in range(256)]
        for i in range(STEPS)
    ]


def _branches(masks: Numbers, values: Numbers) -> list[list[int]]:
    masks, values = integers(masks), integers(values)
    metrics = []
    for step in range(STEPS):
        table = [0] * 65536
        for k in range(step, len(masks), STEPS):
            table[masks[k]] += values[k]
        metrics.append(_walsh_hadamard(table))
    return metrics


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
