// Native harness of the engine: feed command words, collect result words, count clocks. One model per handle; handles are
// independent, so several threads may each drive their own.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if BITTING_TRACE
#include BITTING_TRACE_HEADER
#endif

namespace {

// Marsaglia's xorshift64: decides the stalls of a run, reproducibly from its seed.
struct Stalls {
    uint64_t state;
    explicit Stalls(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 1) {}
    // True with probability per256 / 256.
    bool operator()(uint32_t per256) {
        if (per256 == 0) return false;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return ((state >> 32) & 0xFF) < per256;
    }
};

// An engine with its secret baked in, or without any, has no fuses; one with a PUF has one, for the flag `sealed`.
template <class Top>
auto read_fuse(Top& top, const uint32_t* words, int) -> decltype(top.fuse_data, void()) {
    top.fuse_data = words[top.fuse_address];
}
template <class Top>
auto read_fuse(Top& top, const uint32_t* words, int) -> decltype(top.sealed, void()) {
    top.sealed = words[4] & 1;
}
template <class Top>
void read_fuse(Top&, const uint32_t*, long) {}

struct Engine {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    uint64_t cycles = 0;
    uint32_t fuses[8] = {};  // five of them are there
#if BITTING_TRACE
    BITTING_TRACE_CLASS trace;
    bool tracing = false;
    uint64_t dumped = ~0ull;
#endif

    Engine() {
        context.randReset(0);
        context.traceEverOn(BITTING_TRACE);
        top = std::make_unique<Vtop>(&context, "bitting");
        top->clk = 0;
        top->rst = 0;
        top->cmd_valid = 0;
        top->result_ready = 0;
        top->lock_now = 0;
        set_load(*top, false, 0, 0, 0, 0);
        top->eval();
    }

    // Outputs follow the inputs. Those of an engine that clocks on both edges come from registers: they are there already.
    void settle() {
#if !BITTING_BOTH_EDGES
        top->clk = 0;
        top->eval();
        dump(2 * cycles);
#endif
    }

    // The first clock half of a run may be settled twice; a waveform takes each time once.
    void dump(uint64_t time) {
#if BITTING_TRACE
        if (tracing && time != dumped) trace.dump(time);
        dumped = time;
#else
        (void)time;
#endif
    }

    void edge() {
        read_fuse(*top, fuses, 0);
        top->clk = !top->clk;
        top->eval();
        dump(2 * cycles + 1);
        ++cycles;
    }
};

}  // namespace

extern "C" {

// Burn the fuses: the root secret and the flags, five words. They are read after the next reset.
void engine_fuse(void* handle, const uint32_t* words) { std::copy_n(words, 5, static_cast<Engine*>(handle)->fuses); }

// Fill the memory of increments, two a word, through its port; 0 if there is none.
int engine_oscillators(void* handle, const uint32_t* increments, uint64_t count) {
    auto* engine = static_cast<Engine*>(handle);
    for (uint64_t at = 0; at < count; ++at) {
        if (!set_load(*engine->top, true, at, increments[2 * at], increments[2 * at + 1], 0)) return 0;
        engine->settle();
        engine->edge();
    }
    return set_load(*engine->top, false, 0, 0, 0, 0);
}

void* engine_new() { return new Engine; }

void engine_free(void* handle) {
    auto* engine = static_cast<Engine*>(handle);
    engine->top->final();
    delete engine;
}

// Begin a waveform; 0 if this build has none.
int engine_trace(void* handle, const char* path) {
#if BITTING_TRACE
    auto* engine = static_cast<Engine*>(handle);
    engine->top->trace(&engine->trace, 99);
    engine->trace.open(path);
    engine->tracing = true;
    return 1;
#else
    (void)handle;
    (void)path;
    return 0;
#endif
}

void engine_trace_close(void* handle) {
#if BITTING_TRACE
    auto* engine = static_cast<Engine*>(handle);
    if (engine->tracing) engine->trace.close();
    engine->tracing = false;
#else
    (void)handle;
#endif
}

void engine_reset(void* handle) {
    auto* engine = static_cast<Engine*>(handle);
    engine->top->rst = 1;
    engine->top->cmd_valid = 0;
    engine->top->result_ready = 0;
    for (int i = 0; i < 2; ++i) {
        engine->settle();
        engine->edge();
    }
    engine->top->rst = 0;
    engine->settle();
}

// Feed `command_count` words and collect up to `capacity` result words, until all commands are taken and `expected` results
// are there, or `quiet_limit` clocks pass in which no word moves; `busy_limit` clocks, while the engine says that it is busy and
// has no error. Returns the clocks of this run.
uint64_t engine_run(void* handle, const uint32_t* commands, uint64_t command_count, uint32_t* results, uint64_t capacity,
                    uint64_t expected, uint64_t quiet_limit, uint64_t busy_limit, uint64_t seed, uint32_t command_stalls,
                    uint32_t result_stalls, uint64_t* taken, uint64_t* received, uint32_t* error) {
    auto* engine = static_cast<Engine*>(handle);
    Vtop& top = *engine->top;
    Stalls stalls(seed);
    const uint64_t start = engine->cycles;
    uint64_t sent = 0, got = 0, quiet = 0;
    bool working = false;
    bool offered = false;  // AXI4-Stream: valid, once up, stays until the word is taken
    while ((sent < command_count || got < expected) && quiet < (working ? busy_limit : quiet_limit)) {
        offered = sent < command_count && (offered || !stalls(command_stalls));
        top.cmd_valid = offered;
        if (offered) top.cmd_data = commands[sent];
        top.result_ready = got < capacity && !stalls(result_stalls);
        engine->settle();
        ++quiet;
        working = top.busy && !top.error;
        if (offered && top.cmd_ready) {
            ++sent;
            offered = false;
            quiet = 0;
        }
        if (top.result_valid && top.result_ready) {
            results[got++] = top.result_data;
            quiet = 0;
        }
        engine->edge();
    }
    top.cmd_valid = 0;
    top.result_ready = 0;
    engine->settle();
    *taken = sent;
    *received = got;
    *error = top.error;
    return engine->cycles - start;
}

}  // extern "C"
