// What training does between its products, one pass over memory each. Arrays are the caller's; nothing is allocated.

#include <cmath>
#include <cstdint>

// table[clamp(factor x - low)]: the nearest value of a family (the table in halves of a weight unit), or the nearest activation.
extern "C" void bitting_lookup(const float *x, int64_t count, float factor, float low, int32_t last, const float *table,
                               float *out) {
    const int64_t block = 64;
#pragma omp parallel for schedule(static) if (count > 16384)
    for (int64_t first = 0; first < count; first += block) {
        int64_t size = count - first < block ? count - first : block;
        int32_t index[block];  // by vectors; the look-up after it is scalar, which is no slower than a gather
        for (int64_t i = 0; i < size; i++) {
            float place = x[first + i] * factor - low;
            place = place > 0 ? place : 0;
            index[i] = (int32_t)(place < (float)last ? place : (float)last);
        }
        for (int64_t i = 0; i < size; i++) out[first + i] = table[index[i]];
    }
}

// Inputs to the nearest of low..high, halves upwards.
extern "C" void bitting_integers(const float *x, int64_t count, float factor, int32_t low, int32_t high, float *out) {
    const float last = (float)(high - low), start = (float)low - 0.5f;
#pragma omp parallel for simd schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) {
        float place = x[i] * factor - start;
        place = place > 0 ? place : 0;
        out[i] = (float)((int32_t)(place < last ? place : last) + low);
    }
}

// Biases: rounded to even, reduced modulo 2^bits, times a power of two.
extern "C" void bitting_round(const float *latent, int64_t count, float unit, int32_t bits, float factor, float *out) {
    for (int64_t i = 0; i < count; i++) {
        int64_t whole = (int64_t)std::nearbyint(latent[i] * unit);
        out[i] = (float)(int32_t)((uint64_t)whole << (64 - bits) >> (64 - bits) ^ (1u << (bits - 1))) - (float)(1u << (bits - 1));
        out[i] *= factor;
    }
}

// The fold of accumulators times `factor`, in place or not, and the side of the wave: +1 where it rises, -1 where it falls.
extern "C" void bitting_fold(const float *accs, int64_t count, float factor, int32_t act_bits, float *out, int8_t *side) {
    const int32_t period = 2 << act_bits, half = 1 << act_bits, quarter = half >> 1;
#pragma omp parallel for simd schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) {
        float scaled = accs[i] * factor;
        int32_t floor = (int32_t)scaled;
        floor -= (float)floor > scaled;
        // t modulo the period, from the trough: rises over the first half, falls over the second.
        int32_t t = (floor + quarter) & (period - 1);
        int32_t falls = -(t >> act_bits);
        out[i] = (float)((t ^ (falls & (period - 1))) - quarter);
        side[i] = (int8_t)(falls | 1);
    }
}

extern "C" void bitting_fold_backward(const float *grad, const int8_t *side, int64_t count, float factor, float *out) {
#pragma omp parallel for simd schedule(static) if (count > 16384)
    for (int64_t i = 0; i < count; i++) out[i] = grad[i] * ((float)side[i] * factor);
}
