// Runs the engine once on given words, so that the compiler learns which branches it takes. Linked with stream.cpp.
//
//     train FILE    FILE: five words of fuses, the number of result words expected, then command words

#include <cstdint>
#include <cstdio>
#include <vector>

extern "C" {
void engine_fuse(void* handle, const uint32_t* words);
void* engine_new();
void engine_free(void* handle);
void engine_reset(void* handle);
uint64_t engine_run(void* handle, const uint32_t* commands, uint64_t command_count, uint32_t* results, uint64_t capacity,
                    uint64_t expected, uint64_t quiet_limit, uint64_t busy_limit, uint64_t seed, uint32_t command_stalls,
                    uint32_t result_stalls, uint64_t* taken, uint64_t* received, uint32_t* error);
}

int main(int, char** arguments) {
    constexpr size_t HEAD = 6;
    std::vector<uint32_t> words;
    std::FILE* file = std::fopen(arguments[1], "rb");
    if (!file) return 2;
    for (uint32_t word; std::fread(&word, sizeof word, 1, file) == 1;) words.push_back(word);
    std::fclose(file);
    if (words.size() < HEAD) return 2;
    const uint64_t expected = words[HEAD - 1];
    std::vector<uint32_t> results(expected + 1);
    uint64_t taken = 0, received = 0;
    uint32_t error = 0;
    void* engine = engine_new();
    engine_fuse(engine, words.data());
    engine_reset(engine);
    engine_run(engine, words.data() + HEAD, words.size() - HEAD, results.data(), results.size(), expected, 1 << 16, 1 << 16, 0, 0, 0,
               &taken, &received, &error);
    engine_free(engine);
    if (received == expected && !error) return 0;
    std::printf("error: training gave %llu of %llu result words, error %u\n", static_cast<unsigned long long>(received),
                static_cast<unsigned long long>(expected), error);
    return 1;
}
