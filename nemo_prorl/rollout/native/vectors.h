/* Vectors of 16 float32 numbers, GCC's and Clang's own: the compiler makes of them what the processor has. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE lanes load(const float *from) {
    lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store(float *to, lanes x) { memcpy(to, &x, sizeof x); }

/* The first `count` of 16; the others are `rest`. */
INLINE lanes load_some(const float *from, int64_t count, float rest) {
    if (count >= LANES) return load(from);
    lanes x = rest - (lanes){0};
    for (int64_t i = 0; i < count; i++) x[i] = from[i];
    return x;
}

INLINE void store_some(float *to, lanes x, int64_t count) {
    if (count >= LANES)
        store(to, x);
    else
        for (int64_t i = 0; i < count; i++) to[i] = x[i];
}

INLINE float sum(lanes x) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

INLINE float largest(lanes x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE lanes choose(int_lanes condition, lanes yes, lanes no) {
    return (lanes)(((int_lanes)yes & condition) | ((int_lanes)no & ~condition));
}

/* e^x within 2 units in the last place; 0 below -87, e^88 above 88. What is no number stays none. */
INLINE lanes exponential(lanes x) {
    int_lanes vanishes = x < -87.0f;
    x = choose(vanishes, (lanes){0}, x);
    x = choose(x > 88.0f, 88.0f - (lanes){0}, x);
    lanes shifted = x * 1.44269504f + 12582912.0f; /* to the nearest integer, which then stands in the lowest bits */
    lanes whole = shifted - 12582912.0f;
    lanes rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    lanes power = 1.9875691500e-4f - (lanes){0};
    power = power * rest + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1.0f;
    int_lanes exponent = (((int_lanes)shifted - 0x4B400000) + 127) << 23;
    return choose(vanishes, (lanes){0}, power * (lanes)exponent);
}

INLINE float inverse_rms(const float *x, int64_t width, float eps) {
    lanes squares = {0};
    for (int64_t i = 0; i < width; i += LANES) {
        lanes part = load_some(x + i, width - i, 0.0f);
        squares += part * part;
    }
    return 1.0f / sqrtf(sum(squares) / (float)width + eps);
}
