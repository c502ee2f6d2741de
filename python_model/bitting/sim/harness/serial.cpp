// A board's serial line, played bit by bit: bytes in, bytes out.

#include <cstdint>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

namespace {

struct Board {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    uint32_t divisor;
    // To the board: the frame under way (start, data, stop), its bits left, and the clocks left of the bit.
    uint32_t frame = 0, frame_bits = 0, frame_clocks = 0;
    // From the board: what came, the bits still to come, and the clocks to the middle of the next.
    uint32_t shift = 0, bits = 0, clocks = 0;
    Flash flash;

    explicit Board(uint32_t divisor) : top(std::make_unique<Vtop>(&context, "board")), divisor(divisor) {
        top->rx = 1;
        top->rst = 1;
        for (int i = 0; i < 4; ++i) edge();
        top->rst = 0;
    }

    void edge() {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        clock_flash(*top, flash, 0);
    }
};

}  // namespace

extern "C" {

void* serial_new(uint32_t divisor) { return new Board(divisor); }

// Fill the memory of increments of a board with a PUF, two a word, through its port.
void serial_oscillators(void* handle, const uint32_t* increments, uint64_t count) {
    auto* board = static_cast<Board*>(handle);
    for (uint64_t at = 0; at <= count; ++at) {
        set_load(*board->top, at < count, at, increments[2 * (at % count)], increments[2 * (at % count) + 1], 0);
        board->edge();
    }
}

// What lies in the flash from a place on, and how the flash is found; for a board that has one.
void serial_flash(void* handle, const uint8_t* bytes, uint64_t length, uint64_t offset, uint32_t state) {
    static_cast<Board*>(handle)->flash.set(bytes, length, offset, state);
}

// Clocks in which board and flash both drove its pins.
uint64_t serial_flash_fights(void* handle) { return static_cast<Board*>(handle)->flash.fights; }

void serial_free(void* handle) {
    auto* board = static_cast<Board*>(handle);
    board->top->final();
    delete board;
}

// Play `clocks` clocks: send up to `count` bytes, receive up to `capacity`; end early when `wanted` bytes have come. Gives
// how many bytes were begun; `*received` how many came.
uint64_t serial_run(void* handle, const uint8_t* bytes, uint64_t count, uint8_t* found, uint64_t capacity, uint64_t wanted,
                    uint64_t clocks, uint64_t* received) {
    auto& board = *static_cast<Board*>(handle);
    Vtop& top = *board.top;
    uint64_t sent = 0, got = 0;
    for (uint64_t clock = 0; clock < clocks && got < wanted && got < capacity; ++clock) {
        if (board.frame_bits == 0 && sent < count) {
            board.frame = 0x200u | uint32_t(bytes[sent++]) << 1;
            board.frame_bits = 10;
            board.frame_clocks = board.divisor;
        }
        if (board.frame_bits) {
            top.rx = board.frame & 1;
            if (--board.frame_clocks == 0) {
                board.frame >>= 1;
                --board.frame_bits;
                board.frame_clocks = board.divisor;
            }
        } else {
            top.rx = 1;
        }
        board.edge();
        if (board.bits == 0) {
            if (!top.tx) {
                board.bits = 9;
                board.clocks = board.divisor + board.divisor / 2;
            }
        } else if (--board.clocks == 0) {
            board.clocks = board.divisor;
            board.shift = board.shift >> 1 | uint32_t(top.tx) << 8;
            if (--board.bits == 0 && board.shift & 0x100) found[got++] = board.shift & 0xFF;
        }
    }
    *received = got;
    return sent;
}

}  // extern "C"
