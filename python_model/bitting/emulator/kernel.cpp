// The unit's arithmetic for whole batches, exact: a program's gather layers on bytes.
//
// Samples lie side by side, as they do in the lanes of the engine: a row is one activation, plus 2^(bx-1), of BLOCK samples, so
// that a gather is a row address and one weight serves a whole row. The scratch memory of BLOCK samples is (words, BLOCK) bytes
// in one piece: it stays in a core's cache while a thread takes its samples through all layers.
//
// What differs between processors is in `vectors.h` (x86) and `portable.h`: how rows are gathered and multiplied.

#include <cstdint>
#include <cstring>
#include <vector>

// What `bitting.emulator.native` hands over; see there.
struct Layer {
    int32_t inputs;     // codes of a sum, filled up to whole quads
    int32_t planes;     // each weight is the sum over p of (its byte in plane p) << (p * limb_bits)
    int32_t limb_bits;
    int32_t positions, groups;
    const int32_t *offsets, *in_positions, *out_positions;
    const int32_t *group_base, *group_first;
    const void *weights;
    const int32_t *bias, *out_base;
    int32_t shift, act_bits, acc_bits, folded;
    int32_t band_base, band_words;  // of the tensor that is read, where `stripes` samples side by side are bands of one; or 0
    int32_t edge, stripes;          // what lies beyond the first and last of them, plus 2^(bx-1)
};

// The biases of folded layers come with this taken off: the wave then has a peak at 0.
static inline uint32_t peak(const Layer &layer) { return layer.folded ? 1u << (layer.acc_bits - 2) >> layer.shift : 0; }

// Reduced modulo 2^bits to a signed number.
static inline int32_t wrapped(uint32_t value, int bits) { return (int32_t)(value << (32 - bits)) >> (32 - bits); }

#if defined(__AVX2__) && !defined(BITTING_PORTABLE)
#include "vectors.h"
#else
#include "portable.h"
#endif

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_max_threads() { return 1; }
static int omp_get_thread_num() { return 0; }
#endif

extern "C" int bitting_isa() { return ISA; }
extern "C" int bitting_block() { return BLOCK; }
extern "C" int bitting_rows() { return ROWS; }

// Rows of the bands that a layer reads across neighbours, one of three parts: of the sample before, its own, of the next one.
// Together they lie as addresses run on: 3 * band_words rows.
static void band_rows(const Layer &layer, int part, const uint8_t *scratch, uint8_t *line) {
    const uint8_t *own = scratch + (int64_t)layer.band_base * BLOCK;
    line += (int64_t)part * layer.band_words * BLOCK;
    for (int row = 0; row < layer.band_words; row++, own += BLOCK, line += BLOCK) {
        std::memcpy(line + (part == 0), own + (part == 2), BLOCK - (part != 1));
        if (part != 1)
            for (int s = part ? layer.stripes - 1 : 0; s < BLOCK; s += layer.stripes) line[s] = (uint8_t)layer.edge;
    }
}

static int64_t line_bytes(const Layer &layer) { return 3 * (int64_t)layer.band_words * BLOCK; }

// What a layer gathers from: a pointer to address 0, which need not be there.
static const uint8_t *rows_of(const Layer &layer, const uint8_t *scratch, const uint8_t *line) {
    return layer.band_words ? line - ((int64_t)layer.band_base - layer.band_words) * BLOCK : scratch;
}

// A layer for one block of samples at one position: the sums of a group, or every `shares`-th part of them.
static void part(const Layer &layer, int group, int position, int share, int shares, void *buffer, const uint8_t *rows,
                 uint8_t *scratch, int32_t *sums, int64_t stride) {
    int first = layer.group_first[group], count = layer.group_first[group + 1] - first, tiles = tiles_of(layer);
    int step = ((count + shares - 1) / shares + tiles - 1) / tiles * tiles;
    int begin = first + share * step, end = begin + step < first + count ? begin + step : first + count;
    if (begin >= end) return;
    int64_t base = layer.group_base[group] + layer.in_positions[position];
    gather(rows + base * BLOCK, layer, buffer);
    for (int tile = begin; tile < end; tile += tiles) {
        int64_t row = (int64_t)tile * layer.positions + position;
        int now = end - tile < tiles ? end - tile : tiles;
        products(buffer, layer, tile, now, position, scratch, sums ? sums + row * stride : nullptr, layer.positions * stride);
    }
}

#ifdef __SSE2__
// Sixteen rows of 16 bytes to its columns, by four perfect shuffles.
static inline void transposed(__m128i *r) {
    __m128i t[16];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
            t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
        }
        for (int i = 0; i < 16; i++) r[i] = t[i];
    }
}
#endif

// (samples, words) activations to the rows of a block, plus `offset`.
static void input(const int8_t *from, int64_t samples, int64_t words, uint8_t *to, int offset) {
    int64_t whole = 0, wide = 0;
#ifdef __SSE2__
    const __m128i add = _mm_set1_epi8((char)offset);
    whole = samples / 16 * 16, wide = words / 16 * 16;
    for (int64_t w = 0; w < wide; w += 16)
        for (int64_t s = 0; s < whole; s += 16) {
            __m128i r[16];
            for (int i = 0; i < 16; i++) r[i] = _mm_loadu_si128((const __m128i *)(from + (s + i) * words + w));
            transposed(r);
            for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(to + (w + i) * BLOCK + s), _mm_add_epi8(r[i], add));
        }
#endif
    for (int64_t s = 0; s < samples; s++)
        for (int64_t w = s < whole ? wide : 0; w < words; w++) to[w * BLOCK + s] = (uint8_t)(from[s * words + w] + offset);
}

// The way back: activations (samples, count) at the addresses `rows`, from (blocks, reach, BLOCK) bytes that have `offset` more.
extern "C" void bitting_output(const uint8_t *scratch, int64_t reach, const int32_t *rows, int64_t count, int64_t samples,
                               int32_t offset, int8_t *to) {
    for (int64_t first = 0; first < samples; first += BLOCK, scratch += reach * BLOCK) {
        int64_t here = samples - first < BLOCK ? samples - first : BLOCK, whole = 0, wide = 0;
        int8_t *out = to + first * count;
#ifdef __SSE2__
        const __m128i less = _mm_set1_epi8((char)offset);
        whole = here / 16 * 16, wide = count / 16 * 16;
        for (int64_t w = 0; w < wide; w += 16)
            for (int64_t s = 0; s < whole; s += 16) {
                __m128i r[16];
                for (int i = 0; i < 16; i++) {
                    const uint8_t *row = scratch + (int64_t)rows[w + i] * BLOCK + s;
                    r[i] = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)row), less);
                }
                transposed(r);
                for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(out + (s + i) * count + w), r[i]);
            }
#endif
        for (int64_t s = 0; s < here; s++)
            for (int64_t w = s < whole ? wide : 0; w < count; w++)
                out[s * count + w] = (int8_t)(scratch[(int64_t)rows[w] * BLOCK + s] - offset);
    }
}

// So many bytes that begin where a vector may.
static uint8_t *aligned(std::vector<uint8_t> &room, int64_t bytes) {
    room.resize(bytes + 64);
    return (uint8_t *)(((uintptr_t)room.data() + 63) & ~(uintptr_t)63);
}

// All layers for all samples.
//   from: (samples, words) activations, written at `input_base`.
//   scratch: (slots, reach, BLOCK). One slot a block keeps what every block wrote; with fewer, one a thread, it is overwritten.
//   sums: for each layer null, or room for (sums * positions, stride) accumulators; stride >= samples, whole blocks.
extern "C" void bitting_run(const Layer *layers, int32_t count, const int8_t *from, int64_t samples, int64_t words,
                            int64_t input_base, int64_t reach, uint8_t *scratch, int64_t slots, int32_t *const *sums) {
    const int64_t blocks = (samples + BLOCK - 1) / BLOCK, stride = blocks * BLOCK;
    const int offset = 1 << (layers[0].act_bits - 1);
    int64_t work = 0, longest = 0, longest_line = 0;
    for (int l = 0; l < count; l++) {
        const Layer &layer = layers[l];
        work += stride * layer.positions * layer.group_first[layer.groups] * layer.inputs * layer.planes;
        if (buffer_bytes(layer) > longest) longest = buffer_bytes(layer);
        if (line_bytes(layer) > longest_line) longest_line = line_bytes(layer);
    }
    std::vector<uint8_t> shared_room;
    uint8_t *const shared_line = aligned(shared_room, longest_line);
    // A team of threads is worth a million operations, and waits idly for a processor that others use.
    const int threads = work < 1 << 21 ? 1 : omp_get_max_threads();
    // As many blocks as divide among the threads go through all layers by themselves; the threads share the work of the last ones.
    const int64_t alone = threads == 1 ? blocks : slots < blocks && slots < threads ? 0 : blocks / threads * threads;
    auto fill = [&](int64_t block, uint8_t *own) {
        int64_t here = samples - block * BLOCK < BLOCK ? samples - block * BLOCK : BLOCK;
        input(from + block * BLOCK * words, here, words, own + input_base * BLOCK, offset);
    };
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        thread_local std::vector<uint8_t> room, line_room;
        void *buffer = aligned(room, longest);
        uint8_t *line = aligned(line_room, longest_line);
#pragma omp for schedule(dynamic)  // a thread whose processor others use does less
        for (int64_t block = 0; block < alone; block++) {
            uint8_t *own = scratch + (slots >= blocks ? block : omp_get_thread_num()) * reach * BLOCK;
            fill(block, own);
            for (int l = 0; l < count; l++) {
                if (layers[l].band_words)
                    for (int third = 0; third < 3; third++) band_rows(layers[l], third, own, line);
                const uint8_t *rows = rows_of(layers[l], own, line);
                for (int position = 0; position < layers[l].positions; position++)
                    for (int group = 0; group < layers[l].groups; group++)
                        part(layers[l], group, position, 0, 1, buffer, rows, own, sums[l] ? sums[l] + block * BLOCK : nullptr,
                             stride);
            }
        }
        for (int64_t block = alone; block < blocks; block++) {
            uint8_t *own = scratch + (slots >= blocks ? block : 0) * reach * BLOCK;
#pragma omp single
            fill(block, own);
            for (int l = 0; l < count; l++) {
                const Layer &layer = layers[l];
                int64_t items = (int64_t)layer.positions * layer.groups;
                int shares = items >= threads ? 1 : (threads + items - 1) / items;  // of sums, between threads that all gather
                if (layer.band_words) {
#pragma omp for schedule(static)
                    for (int third = 0; third < 3; third++) band_rows(layer, third, own, shared_line);
                }
                const uint8_t *rows = rows_of(layer, own, shared_line);
#pragma omp for schedule(static)
                for (int64_t item = 0; item < items * shares; item++) {
                    int64_t rest = item / shares;
                    part(layer, rest % layer.groups, rest / layer.groups, item % shares, shares, buffer, rows, own,
                         sums[l] ? sums[l] + block * BLOCK : nullptr, stride);
                }
            }
        }
    }
}
