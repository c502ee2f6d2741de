// Rows gathered and multiplied by loops, for any processor: included by kernel.cpp.
//
// A compiler makes vectors of them (SSE2, NEON). Sums are modulo 2^16 where W <= 16, so that the lanes are narrow; else modulo
// 2^32. Weights are whole (one plane of dwords).

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ISA 0
static const int BLOCK = 32;  // samples of a row
static const int ROWS = 1;

static int tiles_of(const Layer &) { return ROWS; }
static int64_t buffer_bytes(const Layer &layer) { return (int64_t)layer.inputs * BLOCK * 2; }

// Rows of bytes to rows of words.
static void gather(const uint8_t *rows, const Layer &layer, void *buffer) {
    uint16_t *out = (uint16_t *)buffer;
    for (int k = 0; k < layer.inputs; k++, out += BLOCK) {
        const uint8_t *row = rows + (int64_t)layer.offsets[k] * BLOCK;
        for (int s = 0; s < BLOCK; s++) out[s] = row[s];
    }
}

template <typename Word>
static void sum_rows(const uint16_t *x, const Layer &layer, int tile, int position, uint8_t *scratch, int32_t *sums) {
    const int32_t *weights = (const int32_t *)layer.weights + (int64_t)tile * layer.inputs;
    Word acc[BLOCK];
    for (int s = 0; s < BLOCK; s++) acc[s] = (Word)layer.bias[tile];
    for (int k = 0; k < layer.inputs; k++, x += BLOCK) {
        const Word weight = (Word)weights[k];
        for (int s = 0; s < BLOCK; s++) acc[s] = (Word)(acc[s] + (Word)x[s] * (uint32_t)weight);
    }
    if (layer.folded) {
        uint8_t *to = scratch + (int64_t)(layer.out_base[tile] + layer.out_positions[position]) * BLOCK;
        const int left = 32 - layer.acc_bits + layer.shift, right = 31 - layer.act_bits, top = (1 << layer.act_bits) - 1;
        for (int s = 0; s < BLOCK; s++) {
            int32_t v = (int32_t)((uint32_t)acc[s] << left);
            to[s] = (uint8_t)((v ^ v >> 31) >> right ^ top);
        }
    }
    if (sums)
        for (int s = 0; s < BLOCK; s++) sums[s] = wrapped(acc[s] + peak(layer), layer.acc_bits);
}

// As in vectors.h.
static void products(const void *buffer, const Layer &layer, int tile, int count, int position, uint8_t *scratch, int32_t *sums,
                     int64_t step) {
    auto rows = layer.acc_bits <= 16 ? sum_rows<uint16_t> : sum_rows<uint32_t>;
    for (int t = 0; t < count; t++)
        rows((const uint16_t *)buffer, layer, tile + t, position, scratch, sums ? sums + t * step : nullptr);
}
