/* What a decoding step is made of, in float32, each function one pass over its data.

   Keys lie in blocks of 16 tokens, [blocks][D][16], so that a block's 16 scores are one vector; values as
   [tokens][DP], where DP is D rounded up to 16. Letters: B rows, K key-value heads, Q query heads a key-value head, D
   head size, V vocabulary. */

#include "vectors.h"

#ifdef __AVX512F__
enum { TILE = 8 }; /* rows whose sums fit into the registers */
#else
enum { TILE = 2 };
#endif
enum { PANEL = 2 * LANES };

/* `rows` rows and a panel of columns of a product; `rows` is a constant where this is inlined. */
INLINE void multiply(const float *x, const float *panel, const float *bias, float *out, int64_t K, int64_t N,
                     int64_t columns, int adds, int rows) {
    lanes sums[TILE][2];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++) {
            sums[i][j] = bias ? load_some(bias + j * LANES, columns - j * LANES, 0.0f) : (lanes){0};
            if (adds) sums[i][j] += load_some(out + i * N + j * LANES, columns - j * LANES, 0.0f);
        }
    for (int64_t k = 0; k < K; k++) {
        lanes first = load(panel + k * PANEL), second = load(panel + k * PANEL + LANES);
        for (int i = 0; i < rows; i++) {
            sums[i][0] += x[i * K + k] * first;
            sums[i][1] += x[i * K + k] * second;
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++) store_some(out + i * N + j * LANES, sums[i][j], columns - j * LANES);
}

/* out [rows, N] = x [rows, K] times W', plus the bias [N] if there is one, plus what `out` held if it `adds`. W [N, K]
   is packed as [N/32][K][32]; done are the panels from `begin` to `end`. A panel is read once, in the order in which
   it lies in memory, and stays in the cache for all rows. */
void product(const float *x, const float *packed, const float *bias, float *out, int64_t rows, int64_t K, int64_t N,
             int adds, int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; panel++) {
        int64_t row = 0, n = panel * PANEL, columns = N - n < PANEL ? N - n : PANEL;
        const float *w = packed + n * K, *b = bias ? bias + n : 0;
        for (; row + TILE <= rows; row += TILE)
            multiply(x + row * K, w, b, out + row * N + n, K, N, columns, adds, TILE);
        for (; row + 2 <= rows; row += 2) multiply(x + row * K, w, b, out + row * N + n, K, N, columns, adds, 2);
        if (row < rows) multiply(x + row * K, w, b, out + row * N + n, K, N, columns, adds, 1);
    }
}

/* out = x / rms(x), times `weight` [width] if there is one. */
void rms_norm(const float *x, const float *weight, float *out, int64_t rows, int64_t width, float eps) {
    for (int64_t row = 0; row < rows; row++, x += width, out += width) {
        float scale = inverse_rms(x, width, eps);
        if (weight)
            for (int64_t i = 0; i < width; i++) out[i] = x[i] * scale * weight[i];
        else
            for (int64_t i = 0; i < width; i++) out[i] = x[i] * scale;
    }
}

/* out = silu(gate) * up, where each row of `gate_up` is the gate and then the up part. */
void swiglu(const float *gate_up, float *out, int64_t rows, int64_t width) {
    for (int64_t row = 0; row < rows; row++, gate_up += 2 * width, out += width)
        for (int64_t i = 0; i < width; i += LANES) {
            lanes gate = load_some(gate_up + i, width - i, 0.0f);
            lanes up = load_some(gate_up + width + i, width - i, 0.0f);
            store_some(out + i, gate / (1.0f + exponential(-gate)) * up, width - i);
        }
}

/* Rotary positions, in place on the first `heads` heads of every row of `qkv`; `turn` [rows, D] holds D/2 cosines and
   then D/2 sines. Before that, with `weight` [heads, D], each head's norm. */
void rotate(float *qkv, const float *turn, const float *weight, int64_t rows, int64_t row_width, int64_t heads,
            int64_t D, float eps) {
    int64_t half = D / 2;
    for (int64_t row = 0; row < rows; row++, qkv += row_width, turn += D)
        for (int64_t head = 0; head < heads; head++) {
            float *x = qkv + head * D;
            if (weight) {
                float scale = inverse_rms(x, D, eps);
                for (int64_t i = 0; i < D; i++) x[i] *= scale * weight[head * D + i];
            }
            for (int64_t i = 0; i < half; i++) {
                float first = x[i], second = x[i + half];
                x[i] = first * turn[i] - second * turn[half + i];
                x[i + half] = second * turn[i] + first * turn[half + i];
            }
        }
}

/* A prompt, or a response, as one key-value head knows it. */
typedef struct {
    int64_t tokens;
    const float *keys, *values;           /* [blocks][D][16], [tokens][DP] */
    const float *keys_soon, *values_soon; /* what is read after these, or 0 */
} Part;

/* Memory soon to be read: what is read next lies elsewhere, where the processor doesn't look for it by itself. */
INLINE void fetch(const float *soon) { __builtin_prefetch(soon, 0, 2); }

/* Scores of `queries` queries with `blocks` blocks of keys; both are constants where this is inlined. */
INLINE void score(const float *q, const float *keys, const float *soon, int64_t D, float *scores, int64_t width,
                  int queries, int blocks) {
    lanes sums[4][2] = {{{0}}};
    for (int64_t d = 0; d < D; d++)
        for (int block = 0; block < blocks; block++) {
            lanes key = load(keys + (block * D + d) * LANES);
            if (soon) fetch(soon + (block * D + d) * LANES);
            for (int i = 0; i < queries; i++) sums[i][block] += q[i * D + d] * key;
        }
    for (int i = 0; i < queries; i++)
        for (int block = 0; block < blocks; block++) store(scores + i * width + block * LANES, sums[i][block]);
}

INLINE void score_all(const float *q, Part part, int64_t D, float *scores, int64_t width, int queries) {
    int64_t block = 0, blocks = (part.tokens + LANES - 1) / LANES, size = D * LANES;
    const float *soon = part.keys_soon;
    for (; block + 2 <= blocks; block += 2)
        score(q, part.keys + block * size, soon ? soon + block * size : 0, D, scores + block * LANES, width, queries, 2);
    if (block < blocks)
        score(q, part.keys + block * size, soon ? soon + block * size : 0, D, scores + block * LANES, width, queries, 1);
}

/* out [queries][DP] += weights [queries][tokens] x values, `vectors` vectors of the values at a time. */
INLINE void gather(const float *weights, int64_t width, const float *values, const float *soon, int64_t DP,
                   int64_t tokens, float *out, int queries, int vectors) {
    lanes sums[4][2];
    for (int i = 0; i < queries; i++)
        for (int j = 0; j < vectors; j++) sums[i][j] = load(out + i * DP + j * LANES);
    for (int64_t t = 0; t < tokens; t++)
        for (int j = 0; j < vectors; j++) {
            lanes value = load(values + t * DP + j * LANES);
            if (soon) fetch(soon + t * DP + j * LANES);
            for (int i = 0; i < queries; i++) sums[i][j] += weights[i * width + t] * value;
        }
    for (int i = 0; i < queries; i++)
        for (int j = 0; j < vectors; j++) store(out + i * DP + j * LANES, sums[i][j]);
}

INLINE void gather_all(const float *weights, int64_t width, Part part, int64_t DP, float *out, int queries) {
    int64_t at = 0;
    const float *soon = part.values_soon;
    for (; at + 2 * LANES <= DP; at += 2 * LANES)
        gather(weights, width, part.values + at, soon ? soon + at : 0, DP, part.tokens, out + at, queries, 2);
    if (at < DP) gather(weights, width, part.values + at, soon ? soon + at : 0, DP, part.tokens, out + at, queries, 1);
}

/* e^(x - most) of the first `count` scores, in place; returns their sum. */
INLINE float weigh(float *scores, int64_t count, float most) {
    lanes total = {0};
    for (int64_t t = 0; t < count; t += LANES) {
        lanes weight = exponential(load_some(scores + t, count - t, -INFINITY) - most);
        store_some(scores + t, weight, count - t);
        if (t + LANES <= count)
            total += weight;
        else
            for (int64_t i = 0; i < count - t; i++) total[i] += weight[i];
    }
    return sum(total);
}

INLINE float largest_of(const float *scores, int64_t count) {
    lanes most = load_some(scores, count, -INFINITY);
    for (int64_t t = LANES; t < count; t += LANES) {
        lanes part = load_some(scores + t, count - t, -INFINITY);
        most = choose(part > most, part, most);
    }
    return largest(most);
}

/* `queries` queries of one key-value head over a prompt and the response to it. */
INLINE void attend_some(const float *q, Part prompt, Part own, int64_t D, int64_t DP, float *scores, float *sums,
                        float *out, int queries) {
    int64_t own_at = (prompt.tokens + LANES - 1) / LANES * LANES;
    int64_t width = own_at + (own.tokens + LANES - 1) / LANES * LANES;
    score_all(q, prompt, D, scores, width, queries);
    score_all(q, own, D, scores + own_at, width, queries);
    float total[4];
    for (int i = 0; i < queries; i++) {
        float *of_prompt = scores + i * width, *of_own = of_prompt + own_at;
        float most = largest_of(of_prompt, prompt.tokens), most_own = largest_of(of_own, own.tokens);
        most = most_own > most ? most_own : most;
        total[i] = weigh(of_prompt, prompt.tokens, most) + weigh(of_own, own.tokens, most);
    }
    memset(sums, 0, queries * DP * sizeof(float));
    gather_all(scores, width, prompt, DP, sums, queries);
    gather_all(scores + own_at, width, own, DP, sums, queries);
    for (int i = 0; i < queries; i++)
        for (int64_t d = 0; d < D; d++) out[i * D + d] = sums[i * DP + d] / total[i];
}

/* What stays the same from layer to layer of a step. Arrays with a place for every row of the cache, but for `row`. */
typedef struct {
    int64_t B, K, Q, D, DP;
    int64_t columns;              /* tokens that a row of the cache has room for, a multiple of 16 */
    const int64_t *row;           /* [B] those that take part in the step */
    const int64_t *length;        /* response tokens, with the one now read */
    const int64_t *prompt_length;
    float *scores;                /* room for 4 x the longest prompt and response, each rounded up to 16 */
    float *sums;                  /* room for 4 x DP */
} Step;

/* Store each row's newest key and value, and read: out [B, K Q D]. `keys` and `values` are a layer of the cache,
   [rows][K][columns x D or DP]; `prompt_keys` and `prompt_values` point to those of each row's prompt,
   [K][blocks x 16 x D] and [K][tokens x DP], which rows may share. */
void attend(const Step *s, const float *qkv, float *keys, float *values, const float *const *prompt_keys,
            const float *const *prompt_values, float *out) {
    int64_t D = s->D, DP = s->DP, query_size = s->K * s->Q * D;
    for (int64_t b = 0; b < s->B; b++, qkv += query_size + 2 * s->K * D, out += query_size) {
        int64_t row = s->row[b], length = s->prompt_length[row], newest = s->length[row] - 1;
        int64_t padded = (length + LANES - 1) / LANES * LANES;
        for (int64_t k = 0; k < s->K; k++) {
            float *own_keys = keys + (row * s->K + k) * s->columns * D;
            float *own_values = values + (row * s->K + k) * s->columns * DP;
            const float *key = qkv + query_size + k * D, *value = key + s->K * D;
            float *block = own_keys + newest / LANES * LANES * D + newest % LANES;
            for (int64_t d = 0; d < D; d++) block[d * LANES] = key[d];
            memcpy(own_values + newest * DP, value, D * sizeof(float));
            int64_t next = k + 1 < s->K ? row * s->K + k + 1 : s->row[b + 1 < s->B ? b + 1 : 0] * s->K;
            const float *keys_soon = keys + next * s->columns * D, *values_soon = values + next * s->columns * DP;
            Part shared = {length, prompt_keys[row] + k * padded * D, prompt_values[row] + k * length * DP, 0, 0};
            Part own = {newest + 1, own_keys, own_values, keys_soon, values_soon};
            const float *q = qkv + k * s->Q * D;
            float *read = out + k * s->Q * D;
            int64_t i = 0;
            for (; i + 4 <= s->Q; i += 4)
                attend_some(q + i * D, shared, own, D, DP, s->scores, s->sums, read + i * D, 4);
            for (; i + 2 <= s->Q; i += 2)
                attend_some(q + i * D, shared, own, D, DP, s->scores, s->sums, read + i * D, 2);
            for (; i < s->Q; i++) attend_some(q + i * D, shared, own, D, DP, s->scores, s->sums, read + i * D, 1);
        }
    }
}

/* The sum of the first `count` of up to SHARE weights. */
enum { SHARE = 16 * LANES };
INLINE double share_of(const float *weights, int64_t count) {
    lanes total = {0};
    for (int64_t i = 0; i < count && i < SHARE; i += LANES) total += load_some(weights + i, count - i, 0.0f);
    return sum(total);
}

/* A token for each row of `logits` [B, V] by the inverse of the cumulative distribution of softmax(logits x inverse
   temperature) at `uniform` [B], and its logprob. `weights` is room for V numbers. Where a logit is no number, neither
   is the row's logprob. */
void draw(const float *logits, const float *uniform, int64_t B, int64_t V, float inverse_temperature, float *weights,
          int64_t *token, float *logprob) {
    for (int64_t b = 0; b < B; b++, logits += V) {
        float most = largest_of(logits, V);
        for (int64_t i = 0; i < V; i += LANES) {
            lanes logit = load_some(logits + i, V - i, -INFINITY);
            store_some(weights + i, exponential((logit - most) * inverse_temperature), V - i);
        }
        double total = 0, reached = 0;
        for (int64_t i = 0; i < V; i += SHARE) total += share_of(weights + i, V - i);
        double target = uniform[b] * total;
        int64_t at = 0, chosen = 0;
        for (; at + SHARE < V; at += SHARE) {
            double share = share_of(weights + at, V - at);
            if (reached + share > target) break;
            reached += share;
        }
        for (; at < V && reached <= target; at++) { /* rounding may let no token reach it: then it is the last likely one */
            reached += weights[at];
            if (weights[at] > 0) chosen = at;
        }
        token[b] = chosen;
        logprob[b] = (logits[chosen] - most) * inverse_temperature - (float)log(total);
    }
}
