// The unit's arithmetic for whole batches, exact: gather layers on bytes, and what training does between its products.
//
// Samples lie side by side, as they do in the lanes of the engine: the scratch memory is (words, stride) bytes, an activation
// plus 2^(bx-1) in each, so that a gather is a row address and one weight serves a whole vector. Four rows are interleaved to
// dwords (x0 x1 x2 x3 of one sample), and one instruction multiplies them by four signed weights and adds.
//
// With AVX-512 VNNI the sums are modulo 2^32 (vpdpbusd). With AVX2 they are modulo 2^16 (vpmaddubsw, vpaddw), so W <= 16 and no
// pair may saturate; `bitting_isa` tells which. Every array is the caller's; nothing is allocated but one buffer a thread.

#include <cmath>
#include <cstdint>
#include <vector>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>
#define ISA 2
using Vector = __m512i;
static inline Vector load(const void *p) { return _mm512_loadu_si512(p); }
static inline void store(void *p, Vector v) { _mm512_storeu_si512(p, v); }
static inline Vector zero() { return _mm512_setzero_si512(); }
static inline Vector every32(int32_t v) { return _mm512_set1_epi32(v); }
static inline Vector dot(Vector acc, Vector x, Vector w) { return _mm512_dpbusd_epi32(acc, x, w); }
static inline Vector finish(Vector acc, int32_t bias) { return _mm512_add_epi32(acc, every32(bias)); }
static inline Vector low8(Vector a, Vector b) { return _mm512_unpacklo_epi8(a, b); }
static inline Vector high8(Vector a, Vector b) { return _mm512_unpackhi_epi8(a, b); }
static inline Vector low16(Vector a, Vector b) { return _mm512_unpacklo_epi16(a, b); }
static inline Vector high16(Vector a, Vector b) { return _mm512_unpackhi_epi16(a, b); }
static inline Vector pack32(Vector a, Vector b) { return _mm512_packs_epi32(a, b); }
static inline Vector pack16(Vector a, Vector b) { return _mm512_packus_epi16(a, b); }
static inline Vector left(Vector v, int n) { return _mm512_sll_epi32(v, _mm_cvtsi32_si128(n)); }
static inline Vector right(Vector v, int n) { return _mm512_sra_epi32(v, _mm_cvtsi32_si128(n)); }
static inline Vector exclusive(Vector a, Vector b) { return _mm512_xor_si512(a, b); }
static inline Vector plus32(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
template <int Lane> static inline __m128i lane(Vector v) { return _mm512_extracti32x4_epi32(v, Lane); }
#elif defined(__AVX2__)
#include <immintrin.h>
#define ISA 1
using Vector = __m256i;
static inline Vector load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, Vector v) { _mm256_storeu_si256((__m256i *)p, v); }
static inline Vector zero() { return _mm256_setzero_si256(); }
static inline Vector every32(int32_t v) { return _mm256_set1_epi32(v); }
static inline Vector dot(Vector acc, Vector x, Vector w) { return _mm256_add_epi16(acc, _mm256_maddubs_epi16(x, w)); }
static inline Vector finish(Vector acc, int32_t bias) {
    return _mm256_add_epi32(_mm256_madd_epi16(acc, _mm256_set1_epi16(1)), every32(bias));
}
static inline Vector low8(Vector a, Vector b) { return _mm256_unpacklo_epi8(a, b); }
static inline Vector high8(Vector a, Vector b) { return _mm256_unpackhi_epi8(a, b); }
static inline Vector low16(Vector a, Vector b) { return _mm256_unpacklo_epi16(a, b); }
static inline Vector high16(Vector a, Vector b) { return _mm256_unpackhi_epi16(a, b); }
static inline Vector pack32(Vector a, Vector b) { return _mm256_packs_epi32(a, b); }
static inline Vector pack16(Vector a, Vector b) { return _mm256_packus_epi16(a, b); }
static inline Vector left(Vector v, int n) { return _mm256_sll_epi32(v, _mm_cvtsi32_si128(n)); }
static inline Vector right(Vector v, int n) { return _mm256_sra_epi32(v, _mm_cvtsi32_si128(n)); }
static inline Vector exclusive(Vector a, Vector b) { return _mm256_xor_si256(a, b); }
static inline Vector plus32(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
template <int Lane> static inline __m128i lane(Vector v) { return _mm256_extracti128_si256(v, Lane); }
#else
#define ISA 0
#endif

#ifdef _OPENMP
#include <omp.h>
static int thread_count() { return omp_get_max_threads(); }
#else
static int thread_count() { return 1; }
#endif

extern "C" int bitting_isa() { return ISA; }

#if ISA
static const int VECTORS = 4;                                  // of samples; 64 with AVX-512, 32 with AVX2
static const int BLOCK = VECTORS * (int)sizeof(Vector) / 4;    // samples
static const int TILES = 6;                                    // 6 x 4 accumulators and 4 activations fit 32 registers

extern "C" int bitting_block() { return BLOCK; }

// What `bitting.emulator.kernel` hands over; see there.
struct Layer {
    int64_t stride;
    int32_t quads, positions, groups;
    const int32_t *offsets, *in_positions, *out_positions;
    const int32_t *group_base, *group_first;
    const int8_t *weights;
    const int32_t *bias, *out_base;
    int32_t fold_left, act_bits, acc_bits, folded;
};

// Interleave four rows a time: out[q] holds x[4q..4q+3] of BLOCK samples, in the order the epilogue undoes.
static void gather(const uint8_t *rows, const Layer &layer, Vector *out) {
    for (int q = 0; q < layer.quads; q++) {
        const int32_t *offset = layer.offsets + 4 * q;
        Vector r[4];
        for (int i = 0; i < 4; i++) r[i] = load(rows + offset[i] * layer.stride);
        Vector low = low8(r[0], r[1]), high = high8(r[0], r[1]);
        Vector low2 = low8(r[2], r[3]), high2 = high8(r[2], r[3]);
        out[4 * q + 0] = low16(low, low2);
        out[4 * q + 1] = high16(low, low2);
        out[4 * q + 2] = low16(high, high2);
        out[4 * q + 3] = high16(high, high2);
    }
}

static inline void store_activations(uint8_t *to, const Vector *acc, const Layer &layer) {
    // Two top bits differ: invert what lies below the first. Then the top bits, and the bias of the bytes.
    Vector word[VECTORS], offset = every32(1 << (layer.act_bits - 1));
    for (int j = 0; j < VECTORS; j++) {
        Vector shifted = left(acc[j], layer.fold_left), low = left(shifted, 1);
        Vector mask = right(exclusive(shifted, low), 31);
        word[j] = plus32(right(exclusive(low, mask), 32 - layer.act_bits), offset);
    }
    store(to, pack16(pack32(word[0], word[1]), pack32(word[2], word[3])));
}

template <int Lane> static inline void store_lane(int32_t *to, const Vector *acc) {
    for (int j = 0; j < VECTORS; j++) _mm_storeu_si128((__m128i *)(to + 16 * Lane + 4 * j), lane<Lane>(acc[j]));
}

static inline void store_accumulators(int32_t *to, const Vector *acc, int acc_bits) {
    Vector wrapped[VECTORS];
    for (int j = 0; j < VECTORS; j++) wrapped[j] = right(left(acc[j], 32 - acc_bits), 32 - acc_bits);
    store_lane<0>(to, wrapped);
    store_lane<1>(to, wrapped);
#if ISA == 2
    store_lane<2>(to, wrapped);
    store_lane<3>(to, wrapped);
#endif
}

template <int Count>
static void tiles(const Vector *x, const Layer &layer, int tile, int position, uint8_t *scratch, int32_t *sums) {
    Vector acc[Count][VECTORS];
    for (int t = 0; t < Count; t++)
        for (int j = 0; j < VECTORS; j++) acc[t][j] = zero();
    const int32_t *weights[Count];
    for (int t = 0; t < Count; t++) weights[t] = (const int32_t *)(layer.weights + (int64_t)(tile + t) * 4 * layer.quads);
    for (int q = 0; q < layer.quads; q++) {
        Vector quad[VECTORS];
        for (int j = 0; j < VECTORS; j++) quad[j] = x[4 * q + j];
        for (int t = 0; t < Count; t++) {
            Vector w = every32(weights[t][q]);
            for (int j = 0; j < VECTORS; j++) acc[t][j] = dot(acc[t][j], quad[j], w);
        }
    }
    for (int t = 0; t < Count; t++) {
        for (int j = 0; j < VECTORS; j++) acc[t][j] = finish(acc[t][j], layer.bias[tile + t]);
        if (layer.folded) {
            int64_t word = layer.out_base[tile + t] + layer.out_positions[position];
            store_activations(scratch + word * layer.stride, acc[t], layer);
        }
        if (sums) {
            int64_t row = (int64_t)(tile + t) * layer.positions + position;
            store_accumulators(sums + row * layer.stride, acc[t], layer.acc_bits);
        }
    }
}

// One layer for all samples. `sums`: (tiles * positions, stride) accumulators if they are wanted, else null.
extern "C" void bitting_layer(const Layer *given, uint8_t *scratch, int32_t *sums) {
    const Layer &layer = *given;
    int64_t blocks = layer.stride / BLOCK, items = blocks * layer.positions * layer.groups;
    // A team of threads is worth a fraction of a million operations, and waits idly for a processor that others use.
    int64_t work = layer.stride * layer.positions * layer.group_first[layer.groups] * layer.quads;
    int threads = work < 1 << 19 ? 1 : thread_count();
    // Few items: share the tiles of each among the threads, which then all gather.
    int64_t shares = items >= threads ? 1 : (threads + items - 1) / items;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        thread_local std::vector<Vector> buffer;
        buffer.resize((size_t)layer.quads * VECTORS);
#pragma omp for schedule(static)
        for (int64_t item = 0; item < items * shares; item++) {
            int64_t share = item % shares, rest = item / shares;
            int group = rest % layer.groups, position = rest / layer.groups % layer.positions;
            int64_t sample = rest / layer.groups / layer.positions * BLOCK;
            int first = layer.group_first[group], count = layer.group_first[group + 1] - first;
            int step = ((count + shares - 1) / shares + TILES - 1) / TILES * TILES;
            int begin = first + share * step, end = first + count;
            if (begin + step < end) end = begin + step;
            if (begin >= end) continue;
            int64_t base = layer.group_base[group] + layer.in_positions[position];
            gather(scratch + base * layer.stride + sample, layer, buffer.data());
            uint8_t *to = scratch + sample;
            int32_t *out = sums ? sums + sample : nullptr;
            int tile = begin;
            for (; tile + TILES <= end; tile += TILES) tiles<TILES>(buffer.data(), layer, tile, position, to, out);
            switch (end - tile) {
                case 5: tiles<5>(buffer.data(), layer, tile, position, to, out); break;
                case 4: tiles<4>(buffer.data(), layer, tile, position, to, out); break;
                case 3: tiles<3>(buffer.data(), layer, tile, position, to, out); break;
                case 2: tiles<2>(buffer.data(), layer, tile, position, to, out); break;
                case 1: tiles<1>(buffer.data(), layer, tile, position, to, out); break;
            }
        }
    }
}

// (samples, words) activations to (words, stride) bytes plus `offset`: 16 x 16 at a time by four perfect shuffles.
extern "C" void bitting_input(const int8_t *from, int64_t samples, int64_t words, uint8_t *to, int64_t stride, int offset) {
    const __m128i add = _mm_set1_epi8((char)offset);
    int64_t whole = samples / 16 * 16, wide = words / 16 * 16;
#pragma omp parallel for schedule(static) if (samples * words > 1 << 18)
    for (int64_t w = 0; w < wide; w += 16)
        for (int64_t s = 0; s < whole; s += 16) {
            __m128i r[16], t[16];
            for (int i = 0; i < 16; i++) r[i] = _mm_loadu_si128((const __m128i *)(from + (s + i) * words + w));
            for (int round = 0; round < 4; round++) {
                for (int i = 0; i < 8; i++) {
                    t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
                    t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
                }
                for (int i = 0; i < 16; i++) r[i] = t[i];
            }
            for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(to + (w + i) * stride + s), _mm_add_epi8(r[i], add));
        }
    for (int64_t s = 0; s < samples; s++)
        for (int64_t w = s < whole ? wide : 0; w < words; w++) to[w * stride + s] = (uint8_t)(from[s * words + w] + offset);
}
#endif

// ---- training: one pass over memory each ----

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
