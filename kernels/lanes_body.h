/* Every loop, for one instruction set: variants.h includes this once for each. */

/* 2**52 as the bits of a double: its low half then holds an integer exactly. */
#define WM_2P52 0x4330000000000000u

#if WM_WIDE > 1
typedef double WM(real) __attribute__((vector_size(8 * WM_WIDE)));
#define WM_FLOATS (WM_WIDE > 2 ? 8 : 4)
typedef float WM(floats) __attribute__((vector_size(4 * WM_FLOATS)));
typedef int32_t WM(ints) __attribute__((vector_size(4 * WM_FLOATS)));
typedef uint32_t WM(uints) __attribute__((vector_size(4 * WM_FLOATS)));
#else
typedef double WM(real);
#endif

WM_TARGET WM_ALWAYS WM_VEC WM(load)(const uint64_t *p) {
    WM_VEC v;
    memcpy(&v, p, sizeof v);
    return v;
}

WM_TARGET WM_ALWAYS WM_VEC WM(splat)(uint64_t x) {
    uint64_t all[WM_WIDE];
    for (int l = 0; l < WM_WIDE; l++) all[l] = x;
    return WM(load)(all);
}

/* Philox4x32-10 on the blocks at .. at + 2 WM_WIDE - 1 of a group: two vectors hide the
   latency of the multiplications. The upper halves of the slots end up arbitrary. */
WM_TARGET WM_ALWAYS void WM(rounds)(const wm_group *g, int at, WM_VEC w[4][2]) {
    const WM_VEC m0 = WM(splat)(0xD2511F53u), m1 = WM(splat)(0xCD9E8D57u);
    const WM_VEC w0 = WM(splat)(0x9E3779B9u), w1 = WM(splat)(0xBB67AE85u);
    WM_VEC k0[2], k1[2];
    for (int q = 0; q < 2; q++) {
        int i = at + q * WM_WIDE;
        w[0][q] = WM(load)(g->first + i);
        w[1][q] = WM(load)(g->second + i);
        w[2][q] = WM(load)(g->high + i);
        w[3][q] = w[2][q] >> 32;
        k0[q] = WM(load)(g->low + i);
        k1[q] = k0[q] >> 32;
    }
    for (int r = 0; r < 10; r++)
        for (int q = 0; q < 2; q++) {
            WM_VEC p0 = WM_MUL(w[0][q], m0), p1 = WM_MUL(w[2][q], m1);
            w[0][q] = (p1 >> 32) ^ w[1][q] ^ k0[q];
            w[2][q] = (p0 >> 32) ^ w[3][q] ^ k1[q];
            w[1][q] = p1;
            w[3][q] = p0;
            k0[q] += w0;
            k1[q] += w1;
        }
}

/* The words of a group. */
WM_TARGET static void WM(philox)(const wm_group *g, uint32_t out[4][WM_LANES]) {
    for (int at = 0; at < WM_LANES; at += 2 * WM_WIDE) {
        WM_VEC w[4][2];
        WM(rounds)(g, at, w);
        for (int j = 0; j < 4; j++)
            for (int q = 0; q < 2; q++)
                WM_NARROW(&out[j][at + q * WM_WIDE], w[j][q]);
    }
}

/* 1 - word / 2**32 of a group: exact, since 2**52 + word and the rest are. */
WM_TARGET WM_ALWAYS void WM(factors)(const wm_group *g, double out[4][WM_LANES]) {
    for (int at = 0; at < WM_LANES; at += 2 * WM_WIDE) {
        WM_VEC w[4][2];
        WM(rounds)(g, at, w);
        for (int j = 0; j < 4; j++)
            for (int q = 0; q < 2; q++) {
                WM(real) f;
                WM_VEC bits = (w[j][q] & 0xFFFFFFFFu) | WM_2P52;
                memcpy(&f, &bits, sizeof f);
                f = ((4503599627370496.0 + 4294967296.0) - f) * 0x1p-32;
                memcpy(out[j] + at + q * WM_WIDE, &f, sizeof f);
            }
    }
}

#define WM_ROTL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))

WM_TARGET WM_ALWAYS void WM(sip_rounds)(WM_VEC v[4][2], int count) {
    for (int r = 0; r < count; r++)
        for (int q = 0; q < 2; q++) {
            v[0][q] += v[1][q];
            v[1][q] = WM_ROTL(v[1][q], 13) ^ v[0][q];
            v[0][q] = WM_ROTL(v[0][q], 32);
            v[2][q] += v[3][q];
            v[3][q] = WM_ROTL(v[3][q], 16) ^ v[2][q];
            v[0][q] += v[3][q];
            v[3][q] = WM_ROTL(v[3][q], 21) ^ v[0][q];
            v[2][q] += v[1][q];
            v[1][q] = WM_ROTL(v[1][q], 17) ^ v[2][q];
            v[2][q] = WM_ROTL(v[2][q], 32);
        }
}

/* SipHash-2-4-128 states of the 16 windows of `width` tokens that start at t[0..15]. */
WM_TARGET static void WM(siphash)(
    uint64_t k0, uint64_t k1, const uint32_t *t, long width, uint64_t *low,
    uint64_t *high
) {
    for (int at = 0; at < WM_LANES; at += 2 * WM_WIDE) {
        uint64_t block[2 * WM_WIDE];
        WM_VEC v[4][2], m[2];
        for (int q = 0; q < 2; q++) {
            v[0][q] = WM(splat)(k0 ^ 0x736F6D6570736575u);
            v[1][q] = WM(splat)(k1 ^ 0x646F72616E646F6Du ^ 0xEE);
            v[2][q] = WM(splat)(k0 ^ 0x6C7967656E657261u);
            v[3][q] = WM(splat)(k1 ^ 0x7465646279746573u);
        }
        for (long i = 0; i <= width; i += 2) {
            for (int l = 0; l < 2 * WM_WIDE; l++) {
                const uint32_t *x = t + at + l + i;
                if (i + 2 <= width)
                    block[l] = x[0] | (uint64_t)x[1] << 32;
                else
                    block[l] = (uint64_t)((4 * width) & 0xFF) << 56
                        | (i < width ? x[0] : 0u);
            }
            for (int q = 0; q < 2; q++) {
                m[q] = WM(load)(block + q * WM_WIDE);
                v[3][q] ^= m[q];
            }
            WM(sip_rounds)(v, 2);
            for (int q = 0; q < 2; q++) v[0][q] ^= m[q];
        }
        for (int q = 0; q < 2; q++) v[2][q] ^= 0xEE;
        WM(sip_rounds)(v, 4);
        for (int q = 0; q < 2; q++) {
            WM_VEC half = v[0][q] ^ v[1][q] ^ v[2][q] ^ v[3][q];
            memcpy(low + at + q * WM_WIDE, &half, sizeof half);
            v[1][q] ^= 0xDD;
        }
        WM(sip_rounds)(v, 4);
        for (int q = 0; q < 2; q++) {
            WM_VEC half = v[0][q] ^ v[1][q] ^ v[2][q] ^ v[3][q];
            memcpy(high + at + q * WM_WIDE, &half, sizeof half);
        }
    }
}

/* Multiply each nonce's product by the factors of at most 16 contexts, in their order.
   `blocks` is a power of two; word j of block b belongs to products[j * blocks + b]. */
WM_TARGET WM_ALWAYS void WM(products)(
    const uint64_t *low, const uint64_t *high, const uint32_t *token, long count,
    long blocks, double *products
) {
    const long total = count * blocks, run = blocks < WM_LANES ? blocks : WM_LANES;
    wm_group g;
    double f[4][WM_LANES];
    for (long t = 0; t < total; t += WM_LANES) {
        for (long l = 0; l < WM_LANES; l += run) {
            long c = (t + l) / blocks;
            if (c >= count) c = count - 1; /* computed and not used */
            for (long b = 0; b < run; b++) {
                g.low[l + b] = low[c];
                g.high[l + b] = high[c];
                g.first[l + b] = token[c];
                g.second[l + b] = (uint64_t)((t + b) & (blocks - 1));
            }
        }
        WM(factors)(&g, f);
        for (long l = 0; l < WM_LANES && t + l < total; l += run)
            for (int j = 0; j < 4; j++) {
                double *p = products + j * blocks + ((t + l) & (blocks - 1));
                for (long b = 0; b < run; b++) p[b] *= f[j][l + b];
            }
    }
}

WM_TARGET static void WM(gumbel_products)(
    const uint64_t *low, const uint64_t *high, const uint32_t *token, long count,
    long blocks, double *products
) {
    if (blocks == 1)
        WM(products)(low, high, token, count, 1, products);
    else if (blocks == 4)
        WM(products)(low, high, token, count, 4, products);
    else
        WM(products)(low, high, token, count, blocks, products);
}

/* Multiply products[64 j + b] by the factor of symbol 4 b + j, for all 256 symbols.
   `second` is the counter word of symbol 0. */
WM_TARGET static void WM(symbol_products)(
    uint64_t low, uint64_t high, uint32_t token, uint32_t second, double *products
) {
    wm_group g;
    double f[4][WM_LANES];
    for (int l = 0; l < WM_LANES; l++) {
        g.low[l] = low;
        g.high[l] = high;
        g.first[l] = token;
        g.second[l] = second + l;
    }
    for (int at = 0; at < 64; at += WM_LANES) {
        WM(factors)(&g, f);
        for (int j = 0; j < 4; j++)
            for (int l = 0; l < WM_LANES; l++) products[64 * j + at + l] *= f[j][l];
        for (int l = 0; l < WM_LANES; l++) g.second[l] += WM_LANES;
    }
}

/* The largest of each 64 floats; 0 where one is NaN or +inf. One pass. */
WM_TARGET static int WM(block_tops)(const float *x, long n, float *tops) {
    int32_t bad[16] = {0}, any = 0;
    long block = 0;
    for (; 64 * (block + 1) <= n; block++) {
        const float *y = x + 64 * block;
        float top[16];
        for (int l = 0; l < 16; l++) {
            float a = y[l], b = y[l + 16], c = y[l + 32], d = y[l + 48];
            bad[l] |= !(a < INFINITY) | !(b < INFINITY);
            bad[l] |= !(c < INFINITY) | !(d < INFINITY);
            a = a > b ? a : b;
            c = c > d ? c : d;
            top[l] = a > c ? a : c;
        }
        for (int l = 0; l < 8; l++) top[l] = top[l] > top[l + 8] ? top[l] : top[l + 8];
        for (int l = 0; l < 4; l++) top[l] = top[l] > top[l + 4] ? top[l] : top[l + 4];
        for (int l = 0; l < 2; l++) top[l] = top[l] > top[l + 2] ? top[l] : top[l + 2];
        tops[block] = top[0] > top[1] ? top[0] : top[1];
    }
    if (64 * block < n) {
        tops[block] = -INFINITY;
        for (long i = 64 * block; i < n; i++) {
            any |= !(x[i] < INFINITY);
            tops[block] = x[i] > tops[block] ? x[i] : tops[block];
        }
    }
    for (int l = 0; l < 16; l++) any |= bad[l];
    return !any;
}

#ifndef WM_MASK16
WM_ALWAYS uint32_t WM(mask16)(const float *x, float cut) {
    uint32_t mask = 0;
    for (int l = 0; l < 16; l++) mask |= (uint32_t)(x[l] >= cut) << l;
    return mask;
}
#define WM_MASK16 WM(mask16)
#endif

/* The indices of the floats that are at least cut; how many there are. */
WM_TARGET static long WM(survivors)(
    const float *x, long n, const float *tops, float cut, uint32_t *found
) {
    long count = 0;
    for (long block = 0; 64 * block < n; block++) {
        long i = 64 * block, stop = i + 64 < n ? i + 64 : n;
        if (tops[block] < cut) continue;
        for (; i + 16 <= stop; i += 16) {
            uint32_t mask = (uint32_t)WM_MASK16(x + i, cut);
            for (; mask; mask &= mask - 1)
                found[count++] = (uint32_t)i + (uint32_t)wm_trailing_zeros(mask);
        }
        for (; i < stop; i++)
            if (x[i] >= cut) found[count++] = (uint32_t)i;
    }
    return count;
}

/* Which of 16 candidates can still win: the bits of those whose distance from the best
   logit, in nats, and noise can reach `need`. With t = (2 v + 1) / 2**33 and v = ~word
   the noise is at most -log t <= (31 - floor(log2(v / 2))) log 2; one more for the
   rounding of v / 2 to a float, whose exponent is that logarithm. */
WM_TARGET static uint32_t WM(hopeful)(
    const uint32_t *word, const float *distance, float need
) {
    float bound[16], half[16];
    int32_t bits[16];
    for (int l = 0; l < 16; l++) half[l] = (float)(int32_t)(~word[l] >> 1);
    memcpy(bits, half, sizeof bits);
    for (int l = 0; l < 16; l++)
        bound[l] = distance[l] + (float)(32 + 127 - (bits[l] >> 23)) * 0.69314724f;
    return (uint32_t)WM_MASK16(bound, need);
}

/* Add w and w**2 of 16 floats to each lane's two sums, w = exp(x - top): see
   reference_sequences.collision_nats. */
WM_TARGET WM_ALWAYS void WM(add_weights)(const float *x, float top, double *sums) {
    float w[WM_LANES];
    for (int l = 0; l < WM_LANES; l++) {
        const float distance = x[l] - top;
        const float y = (distance > -40.0f ? distance : -40.0f) * 1.4426950408889634f;
        const float whole = (y + 12582912.0f) - 12582912.0f, part = y - whole;
        const int32_t bits = (int32_t)((uint32_t)((int32_t)whole + 127) << 23);
        float scale, value = 0.0013333558f;
        memcpy(&scale, &bits, sizeof scale);
        value = value * part + 0.0096181291f;
        value = value * part + 0.0555041087f;
        value = value * part + 0.2402265070f;
        value = value * part + 0.6931471806f;
        value = value * part + 1.0f;
        w[l] = distance >= -40.0f ? value * scale : 0.0f;
    }
    for (int l = 0; l < WM_LANES; l++) {
        sums[l] += (double)w[l];
        sums[WM_LANES + l] += (double)w[l] * (double)w[l];
    }
}

/* Fill sums[0..15] and sums[16..31] with those of n floats; blocks too far below the
   top to count are passed over. */
WM_TARGET static void WM(collision)(
    const float *x, long n, const float *tops, float top, double *sums
) {
    float last[WM_LANES];
    for (int l = 0; l < 2 * WM_LANES; l++) sums[l] = 0.0;
    for (long i = 0; i < n; i += WM_LANES) {
        if (tops[i / 64] - top < -40.0f) continue;
        if (i + WM_LANES <= n) {
            WM(add_weights)(x + i, top, sums);
            continue;
        }
        for (int l = 0; l < WM_LANES; l++) last[l] = i + l < n ? x[i + l] : -INFINITY;
        WM(add_weights)(last, top, sums);
    }
}

/* Add bias to the green ones of 8 floats, one word, a nibble each; bad and open count
   NaN or +inf, and what is above -inf. */
WM_TARGET WM_ALWAYS void WM(add_word)(
    float *x, uint32_t word, const uint32_t *place, const uint32_t *edge, float bias,
    int32_t *bad, int32_t *open
) {
#if WM_WIDE > 1
    for (int t = 0; t < 8; t += WM_FLOATS) {
        WM(uints) p, e;
        WM(ints) b, o;
        WM(floats) y, all = (WM(floats)){0} + bias;
        memcpy(&p, place + t, sizeof p);
        memcpy(&e, edge + t, sizeof e);
        memcpy(&b, bad + t, sizeof b);
        memcpy(&o, open + t, sizeof o);
        memcpy(&y, x + t, sizeof y);
        y += (WM(floats))(((word & p) <= e) & (WM(ints))all);
        b |= ~(y < INFINITY);
        o -= y > -INFINITY;
        memcpy(x + t, &y, sizeof y);
        memcpy(bad + t, &b, sizeof b);
        memcpy(open + t, &o, sizeof o);
    }
#else
    for (int t = 0; t < 8; t++) {
        x[t] += (word & place[t]) <= edge[t] ? bias : 0.0f;
        bad[t] |= !(x[t] < INFINITY);
        open[t] += x[t] > -INFINITY;
    }
#endif
}

/* Add bias to the floats whose nibble is below gamma (1 to 16). Returns how many are
   above -inf then, or -1 where one is NaN or +inf. */
WM_TARGET static long WM(add_green)(
    float *x, long n, uint64_t low, uint64_t high, uint32_t gamma, float bias
) {
    int32_t bad[8] = {0}, open[8] = {0};
    uint32_t place[8], edge[8], out[4][WM_LANES];
    long count = 0, any = 0, i = 0;
    wm_group g;
    for (int t = 0; t < 8; t++) {
        place[t] = 15u << (4 * t);
        edge[t] = (gamma - 1) << (4 * t);
    }
    for (int l = 0; l < WM_LANES; l++) {
        g.low[l] = low;
        g.high[l] = high;
        g.first[l] = (uint64_t)l;
        g.second[l] = 0;
    }
    for (; i + 32 * WM_LANES <= n; i += 32 * WM_LANES) {
        WM(philox)(&g, out);
        for (int l = 0; l < WM_LANES; l++) g.first[l] += WM_LANES;
        for (int l = 0; l < WM_LANES; l++)
            for (int j = 0; j < 4; j++)
                WM(add_word)(
                    x + i + 32 * l + 8 * j, out[j][l], place, edge, bias, bad, open
                );
    }
    if (i < n) WM(philox)(&g, out);
    for (long k = 0; i + k < n; k++) {
        uint32_t word = out[(k >> 3) & 3][k >> 5];
        x[i + k] += (word & place[k & 7]) <= edge[k & 7] ? bias : 0.0f;
        any |= !(x[i + k] < INFINITY);
        count += x[i + k] > -INFINITY;
    }
    for (int t = 0; t < 8; t++) {
        any |= bad[t];
        count += open[t];
    }
    return any ? -1 : count;
}

/* Add the bits of `nonces` words to counts[(l - 1) * nonces + v], l from the top. */
WM_TARGET static void WM(layer_counts)(
    const uint32_t *word, long nonces, int layers, int32_t *counts
) {
    for (int l = 0; l < layers; l++)
        for (long v = 0; v < nonces; v++)
            counts[l * nonces + v] += (int32_t)((word[v] >> (31 - l)) & 1u);
}

/* In how many of the first bits the streams of nonces nonce .. nonce + 15 differ from
   `hard`, `words` words of them, the last one under a mask. */
WM_TARGET static void WM(differences)(
    uint64_t low, uint64_t high, uint64_t nonce, const uint32_t *hard, long words,
    uint32_t last, int32_t *differ
) {
    uint32_t out[4][WM_LANES];
    wm_group g;
    for (int l = 0; l < WM_LANES; l++) {
        g.low[l] = low;
        g.high[l] = high;
        g.second[l] = (nonce + (uint64_t)l) & 0xFFFFFFFFu;
        differ[l] = 0;
    }
    for (long i = 0; i < words; i += 4) {
        uint32_t keep[4];
        for (int j = 0; j < 4; j++)
            keep[j] = i + j < words - 1 ? 0xFFFFFFFFu : i + j == words - 1 ? last : 0u;
        for (int l = 0; l < WM_LANES; l++) g.first[l] = (uint64_t)(i / 4);
        WM(philox)(&g, out);
        for (int l = 0; l < WM_LANES; l++)
            differ[l] += wm_popcount32((out[0][l] ^ hard[i]) & keep[0])
                + wm_popcount32((out[1][l] ^ hard[i + 1]) & keep[1])
                + wm_popcount32((out[2][l] ^ hard[i + 2]) & keep[2])
                + wm_popcount32((out[3][l] ^ hard[i + 3]) & keep[3]);
    }
}

/* Of 16 nonces the sums of the weights (128 for each block) with their keyed signs. */
WM_TARGET static void WM(signed_sums)(
    uint64_t low, uint64_t high, const uint64_t *nonce, const int32_t *weights,
    long blocks, int32_t *sums
) {
    uint32_t out[4][WM_LANES];
    wm_group g;
    for (int l = 0; l < WM_LANES; l++) {
        g.low[l] = low;
        g.high[l] = high;
        g.second[l] = nonce[l];
        sums[l] = 0;
    }
    for (long i = 0; i < blocks; i++) {
        for (int l = 0; l < WM_LANES; l++) g.first[l] = (uint64_t)i;
        WM(philox)(&g, out);
        for (int j = 0; j < 4; j++)
            for (int t = 0; t < 32; t += 8) {
                const int32_t *w = weights + 128 * i + 32 * j + t;
                for (int l = 0; l < WM_LANES; l++) {
                    uint32_t bits = out[j][l] >> t;
                    int32_t sum = 0;
                    for (int u = 0; u < 8; u++) sum += bits >> u & 1 ? -w[u] : w[u];
                    sums[l] += sum;
                }
            }
    }
}

/* Walsh-Hadamard transform in place; size is a power of two. */
WM_TARGET static void WM(butterfly)(int32_t *table, long size) {
    for (long half = 1; half < size; half *= 2)
        for (long i = 0; i < size; i += 2 * half)
            for (long j = i; j < i + half; j++) {
                int32_t a = table[j], b = table[j + half];
                table[j] = a + b;
                table[j + half] = a - b;
            }
}

/* One step of Viterbi over 256 states; the smaller origin wins a tie. */
WM_TARGET static void WM(viterbi)(
    const int32_t *before, const int32_t *metric, int32_t *after, int32_t *origin
) {
    for (int s = 0; s < 256; s++) {
        after[s] = before[0] + metric[s];
        origin[s] = 0;
    }
    for (int p = 1; p < 256; p++)
        for (int s = 0; s < 256; s++) {
            int32_t score = before[p] + metric[256 * p + s];
            int better = score > after[s];
            after[s] = better ? score : after[s];
            origin[s] = better ? p : origin[s];
        }
}

/* metric[256 p + s] = sum over j < 4 of r[j][shift[4 p + j] ^ s], where r[j][x] stands
   at rows[2048 j + 256 k + x ^ k] for each k < 8: contiguous in eights, whatever the
   shift. */
WM_TARGET static void WM(branches)(
    const int32_t *__restrict rows, const uint8_t *__restrict shift,
    int32_t *__restrict metric
) {
    for (int p = 0; p < 256; p++) {
        const uint8_t *c = shift + 4 * p;
        const int32_t *r[4];
        for (int j = 0; j < 4; j++) r[j] = rows + 2048 * j + 256 * (c[j] & 7);
        for (int s = 0; s < 256; s += 8)
            for (int l = 0; l < 8; l++)
                metric[256 * p + s + l] = r[0][(s ^ (c[0] & 0xF8)) + l]
                    + r[1][(s ^ (c[1] & 0xF8)) + l] + r[2][(s ^ (c[2] & 0xF8)) + l]
                    + r[3][(s ^ (c[3] & 0xF8)) + l];
    }
}

/* totals[m] = sum over the 16 positions, in order, of r[j][shift[j] ^ m]; rows as for
   `branches`. */
WM_TARGET static void WM(codewords)(
    const double *__restrict rows, const uint8_t *__restrict shift,
    double *__restrict totals
) {
    for (int m = 0; m < 256; m += 4 * WM_WIDE) {
        WM(real) total[4], r; /* four, so that additions overlap */
        memset(total, 0, sizeof total);
        for (int j = 0; j < 16; j++) {
            const double *row = rows + 2048 * j + 256 * (shift[j] & 7);
            for (int q = 0; q < 4; q++) {
                memcpy(&r, row + ((m + q * WM_WIDE) ^ (shift[j] & 0xF8)), sizeof r);
                total[q] += r;
            }
        }
        memcpy(totals + m, total, sizeof total);
    }
}

#define WM_STRING_(x) #x
#define WM_STRING(x) WM_STRING_(x)
static const wm_loops WM(loops) = {
    WM_STRING(WM_NAME), WM(philox), WM(siphash), WM(gumbel_products),
    WM(symbol_products), WM(block_tops), WM(survivors), WM(hopeful), WM(collision),
    WM(add_green), WM(layer_counts), WM(differences), WM(signed_sums), WM(butterfly), WM(viterbi),
    WM(branches), WM(codewords),
};

#undef WM_ROTL
#undef WM_NAME
#undef WM_TARGET
#undef WM_WIDE
#undef WM_VEC
#undef WM_MUL
#undef WM_NARROW
#undef WM_HALF
#undef WM_FLOATS
#undef WM_MASK16
