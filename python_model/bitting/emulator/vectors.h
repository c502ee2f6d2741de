// Rows gathered and multiplied by x86 vectors of bytes: included by kernel.cpp.
//
// Four rows are interleaved to dwords (x0 x1 x2 x3 of one sample), and one instruction multiplies them by four signed weights
// and adds. With VNNI the sums are modulo 2^32 (vpdpbusd). With AVX2 alone they are modulo 2^16 where W <= 16 (vpmaddubsw,
// vpaddw), else modulo 2^32 with one instruction more; the caller sees to it that no pair saturates.

#include <immintrin.h>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(BITTING_256)
#define ISA 3
#elif (defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))) && !defined(BITTING_NO_VNNI)
#define ISA 2
#else
#define ISA 1
#endif

#if ISA == 3
using Vector = __m512i;
static const int PASS = 4;  // vectors of sums at a time: 6 x 4, 4 of activations and a weight fit 32 registers
static inline Vector load(const void *p) { return _mm512_load_si512(p); }
static inline void store(void *p, Vector v) { _mm512_store_si512(p, v); }
static inline Vector zero() { return _mm512_setzero_si512(); }
static inline Vector every32(int32_t v) { return _mm512_set1_epi32(v); }
static inline Vector low8(Vector a, Vector b) { return _mm512_unpacklo_epi8(a, b); }
static inline Vector high8(Vector a, Vector b) { return _mm512_unpackhi_epi8(a, b); }
static inline Vector low16(Vector a, Vector b) { return _mm512_unpacklo_epi16(a, b); }
static inline Vector high16(Vector a, Vector b) { return _mm512_unpackhi_epi16(a, b); }
static inline Vector pack16(Vector a, Vector b) { return _mm512_packus_epi16(a, b); }
static inline Vector odd_from(Vector even, Vector odd) { return _mm512_mask_blend_epi16(0xaaaaaaaa, even, odd); }
static inline Vector left32(Vector v, __m128i n) { return _mm512_sll_epi32(v, n); }
static inline Vector left16(Vector v, __m128i n) { return _mm512_sll_epi16(v, n); }
static inline Vector right32(Vector v, __m128i n) { return _mm512_sra_epi32(v, n); }
static inline Vector right16(Vector v, __m128i n) { return _mm512_srl_epi16(v, n); }
static inline Vector upper(Vector v) { return _mm512_srli_epi32(v, 16); }
static inline Vector raise(Vector v) { return _mm512_slli_epi32(v, 16); }
static inline Vector signs16(Vector v) { return _mm512_srai_epi16(v, 15); }
static inline Vector exclusive(Vector a, Vector b) { return _mm512_xor_si512(a, b); }
static inline Vector plus32(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
static inline Vector plus16(Vector a, Vector b) { return _mm512_add_epi16(a, b); }
static inline Vector shuffle(Vector v, __m128i order) { return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order)); }
template <int Lane> static inline __m128i lane(Vector v) { return _mm512_extracti32x4_epi32(v, Lane); }
static inline Vector dot(Vector acc, Vector x, Vector w) { return _mm512_dpbusd_epi32(acc, x, w); }
#else
using Vector = __m256i;
static const int PASS = 2;  // 6 x 2, 2 of activations, a weight and a product fit 16 registers
static inline Vector load(const void *p) { return _mm256_load_si256((const __m256i *)p); }
static inline void store(void *p, Vector v) { _mm256_store_si256((__m256i *)p, v); }
static inline Vector zero() { return _mm256_setzero_si256(); }
static inline Vector every32(int32_t v) { return _mm256_set1_epi32(v); }
static inline Vector low8(Vector a, Vector b) { return _mm256_unpacklo_epi8(a, b); }
static inline Vector high8(Vector a, Vector b) { return _mm256_unpackhi_epi8(a, b); }
static inline Vector low16(Vector a, Vector b) { return _mm256_unpacklo_epi16(a, b); }
static inline Vector high16(Vector a, Vector b) { return _mm256_unpackhi_epi16(a, b); }
static inline Vector pack16(Vector a, Vector b) { return _mm256_packus_epi16(a, b); }
static inline Vector odd_from(Vector even, Vector odd) { return _mm256_blend_epi16(even, odd, 0xaa); }
static inline Vector left32(Vector v, __m128i n) { return _mm256_sll_epi32(v, n); }
static inline Vector left16(Vector v, __m128i n) { return _mm256_sll_epi16(v, n); }
static inline Vector right32(Vector v, __m128i n) { return _mm256_sra_epi32(v, n); }
static inline Vector right16(Vector v, __m128i n) { return _mm256_srl_epi16(v, n); }
static inline Vector upper(Vector v) { return _mm256_srli_epi32(v, 16); }
static inline Vector raise(Vector v) { return _mm256_slli_epi32(v, 16); }
static inline Vector signs16(Vector v) { return _mm256_srai_epi16(v, 15); }
static inline Vector exclusive(Vector a, Vector b) { return _mm256_xor_si256(a, b); }
static inline Vector plus32(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
static inline Vector plus16(Vector a, Vector b) { return _mm256_add_epi16(a, b); }
static inline Vector shuffle(Vector v, __m128i order) { return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order)); }
template <int Lane> static inline __m128i lane(Vector v) { return _mm256_extracti128_si256(v, Lane); }
#if ISA == 2 && defined(__AVX512VNNI__)
static inline Vector dot(Vector acc, Vector x, Vector w) { return _mm256_dpbusd_epi32(acc, x, w); }
#elif ISA == 2
static inline Vector dot(Vector acc, Vector x, Vector w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
#endif
#endif

static const int BLOCK = sizeof(Vector);  // samples: a row is one vector
static const int VECTORS = 4;             // of sums of a block
static const int ROWS = 6;                // weights of a product: tiles times planes

static int tiles_of(const Layer &layer) { return ROWS / layer.planes; }
static int64_t buffer_bytes(const Layer &layer) { return (int64_t)layer.inputs * BLOCK; }

// out[4q..4q+3] hold x[4q..4q+3] of BLOCK samples, in the order the epilogue undoes.
static void gather(const uint8_t *rows, const Layer &layer, void *buffer) {
    Vector *out = (Vector *)buffer;
    for (int k = 0; k < layer.inputs; k += 4) {
        Vector r[4];
        for (int i = 0; i < 4; i++) r[i] = load(rows + (int64_t)layer.offsets[k + i] * BLOCK);
        Vector low = low8(r[0], r[1]), high = high8(r[0], r[1]);
        Vector low2 = low8(r[2], r[3]), high2 = high8(r[2], r[3]);
        out[k + 0] = low16(low, low2);
        out[k + 1] = high16(low, low2);
        out[k + 2] = low16(high, high2);
        out[k + 3] = high16(high, high2);
    }
}

// Halves: sums are words modulo 2^16, two in each dword, which the end adds.
template <bool Halves> static inline Vector multiplied(Vector acc, Vector x, Vector w) {
#if ISA >= 2
    return dot(acc, x, w);
#else
    Vector pairs = _mm256_maddubs_epi16(x, w);
    return Halves ? plus16(acc, pairs) : plus32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

// Dwords of `even` and `odd` to words (even sum, odd sum), modulo 2^16.
template <bool Halves> static inline Vector words(Vector even, Vector odd) {
    Vector low = odd_from(even, raise(odd));
    return Halves ? plus16(low, odd_from(upper(even), odd)) : low;
}

// Two vectors of sums, the peak of the wave at 0, to words of activations plus 2^(bx-1): the distance from the peak, less one
// where the wave falls, cut to its bx top bits, from 2^bx - 1. The caller takes it from there (an exclusive or).
template <bool Halves> static inline Vector distances(Vector even, Vector odd, const Layer &layer) {
    Vector v;
    if (layer.acc_bits <= 16) {
        v = left16(words<Halves>(even, odd), _mm_cvtsi32_si128(16 - layer.acc_bits + layer.shift));
    } else {
        __m128i n = _mm_cvtsi32_si128(32 - layer.acc_bits + layer.shift);
        v = odd_from(upper(left32(even, n)), left32(odd, n));
    }
    return right16(exclusive(v, signs16(v)), _mm_cvtsi32_si128(15 - layer.act_bits));
}

template <int Lane> static inline void store_lane(int32_t *to, int j, Vector v) {
    _mm_storeu_si128((__m128i *)(to + 16 * Lane + 4 * j), lane<Lane>(v));
}

template <bool Halves> static inline void store_sums(int32_t *to, int j, Vector acc, const Layer &layer) {
    if (Halves) acc = plus32(upper(acc), acc);  // modulo 2^16
    __m128i n = _mm_cvtsi32_si128(32 - layer.acc_bits);
    Vector v = right32(left32(plus32(acc, every32(peak(layer))), n), n);
    store_lane<0>(to, j, v);
    store_lane<1>(to, j, v);
#if ISA == 3
    store_lane<2>(to, j, v);
    store_lane<3>(to, j, v);
#endif
}

// acc[r][j] += sum over quads of the weights of row r times vector j of the quad's activations. The accumulators are copied in
// and out of a local array, and all loops over it unrolled, so that they live in registers: a compiler that sees their address
// stores them after every step.
template <bool Halves, int Count>
static inline void accumulate(const Vector *activations, const int32_t *weights, int quads, Vector (*result)[PASS]) {
    Vector acc[Count][PASS];
#pragma GCC unroll 8
    for (int r = 0; r < Count; r++)
#pragma GCC unroll 8
        for (int j = 0; j < PASS; j++) acc[r][j] = result[r][j];
    for (int q = 0; q < quads; q++, activations += VECTORS, weights += Count) {
        Vector quad[PASS];
#pragma GCC unroll 8
        for (int j = 0; j < PASS; j++) quad[j] = load(activations + j);
#pragma GCC unroll 8
        for (int r = 0; r < Count; r++) {
            Vector weight = every32(weights[r]);
#pragma GCC unroll 8
            for (int j = 0; j < PASS; j++) acc[r][j] = multiplied<Halves>(acc[r][j], quad[j], weight);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Count; r++)
#pragma GCC unroll 8
        for (int j = 0; j < PASS; j++) result[r][j] = acc[r][j];
}

template <bool Halves, int Count, int Planes>
static void tile_rows(const Vector *x, const Layer &layer, int tile, int position, uint8_t *scratch, int32_t *sums, int64_t step) {
    const int quads = layer.inputs / 4;
    const int32_t *weights = (const int32_t *)layer.weights + (int64_t)tile * Planes * quads;
    Vector folded[Count][VECTORS / 2];
    for (int half = 0; half < VECTORS; half += PASS) {
        Vector acc[Count * Planes][PASS];
        for (int t = 0; t < Count; t++) {
            int32_t bias = layer.bias[tile + t];
            Vector start = every32(Halves ? bias & 0xffff : bias);
            for (int p = 0; p < Planes; p++)
                for (int j = 0; j < PASS; j++) acc[t * Planes + p][j] = p ? zero() : start;
        }
        accumulate<Halves, Count * Planes>(x + half, weights, quads, acc);
        for (int t = 0; t < Count; t++) {
            Vector *sum = acc[t * Planes];
            for (int p = 1; p < Planes; p++) {
                __m128i n = _mm_cvtsi32_si128(p * layer.limb_bits);
                for (int j = 0; j < PASS; j++) {
                    Vector plane = acc[t * Planes + p][j];
                    sum[j] = Halves ? plus16(sum[j], left16(plane, n)) : plus32(sum[j], left32(plane, n));
                }
            }
            if (layer.folded)
                for (int j = 0; j < PASS; j += 2) folded[t][(half + j) / 2] = distances<Halves>(sum[j], sum[j + 1], layer);
            if (sums)
                for (int j = 0; j < PASS; j++) store_sums<Halves>(sums + t * step, half + j, sum[j], layer);
        }
    }
    if (!layer.folded) return;
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const Vector top = every32(((1 << layer.act_bits) - 1) * 0x01010101u);
    for (int t = 0; t < Count; t++) {
        int64_t word = layer.out_base[tile + t] + layer.out_positions[position];
        store(scratch + word * BLOCK, exclusive(shuffle(pack16(folded[t][0], folded[t][1]), order), top));
    }
}

using Rows = void (*)(const Vector *, const Layer &, int, int, uint8_t *, int32_t *, int64_t);

template <bool Halves> static Rows rows_of(int count, int planes) {
    static const Rows one[] = {tile_rows<Halves, 1, 1>, tile_rows<Halves, 2, 1>, tile_rows<Halves, 3, 1>,
                               tile_rows<Halves, 4, 1>, tile_rows<Halves, 5, 1>, tile_rows<Halves, 6, 1>};
    static const Rows two[] = {tile_rows<Halves, 1, 2>, tile_rows<Halves, 2, 2>, tile_rows<Halves, 3, 2>};
    static const Rows three[] = {tile_rows<Halves, 1, 3>, tile_rows<Halves, 2, 3>};
    return (planes == 1 ? one : planes == 2 ? two : three)[count - 1];
}

// `count` sums, the first of which is `tile`. `sums`: their accumulators, `step` apart, if they are wanted, else null.
static void products(const void *buffer, const Layer &layer, int tile, int count, int position, uint8_t *scratch, int32_t *sums,
                     int64_t step) {
    Rows rows = ISA == 1 && layer.acc_bits <= 16 ? rows_of<ISA == 1>(count, layer.planes) : rows_of<false>(count, layer.planes);
    rows((const Vector *)buffer, layer, tile, position, scratch, sums, step);
}
