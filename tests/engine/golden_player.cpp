// Plays golden traces on a compiled engine and compares every number bit for bit, where there is no Python:
// golden_player LIBRARY TRACES. tests/test_wheels.py writes the file of traces and runs this under wine and qemu.
//
// TRACES is little-endian. It has a section for each variant of sine and cosine:
//   char[16] name; int32 traces
//   for each trace: int32 frames, int32 rows; uint8[frames] keys; int32[rows] frame; double[rows * 92] state
//
// For each variant, engine and number of threads it prints a line: VARIANT ENGINE THREADS ROWS DIFFERENT, the last
// being the number of doubles that differ. Exit code 0 where none does, 1 where one does, 2 where nothing was played.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "../../game/engine/qwop.h"

constexpr int STATE = 92, THREADS[] = {1, 3};

[[noreturn]] static void fail(const std::string& what) {
    std::fprintf(stderr, "golden_player: %s\n", what.c_str());
    std::exit(2);
}

static void* symbol(const char* library, const char* name) {
#if defined(_WIN32)
    static HMODULE handle = LoadLibraryA(library);
    void* found = handle ? reinterpret_cast<void*>(GetProcAddress(handle, name)) : nullptr;
#else
    static void* handle = dlopen(library, RTLD_NOW);
    void* found = handle ? dlsym(handle, name) : nullptr;
#endif
    if (!found) fail(std::string("cannot load ") + (handle ? name : library));
    return found;
}

struct Trace {
    std::vector<uint8_t> keys;
    std::vector<int32_t> frames;
    std::vector<double> states;
};

template <class T>
static std::vector<T> read(std::ifstream& file, size_t count) {
    std::vector<T> values(count);
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
    if (!file) fail("the file of traces is incomplete");
    return values;
}

int main(int count, char** arguments) {
    if (count != 3) fail("expected LIBRARY TRACES");
#define BIND(name) const auto name = reinterpret_cast<decltype(&::name)>(symbol(arguments[1], #name))
    BIND(qwop_engines);
    BIND(qwop_create);
    BIND(qwop_destroy);
    BIND(qwop_set_threads);
    BIND(qwop_step);
    BIND(qwop_state);

    std::ifstream file(arguments[2], std::ios::binary);
    size_t played = 0, all_different = 0;
    while (file.peek() != std::ifstream::traits_type::eof()) {
        const std::string variant = read<char>(file, 16).data();
        std::vector<Trace> traces(read<int32_t>(file, 1)[0]);
        size_t length = 0;
        for (Trace& trace : traces) {
            const auto sizes = read<int32_t>(file, 2);
            trace = {read<uint8_t>(file, sizes[0]), read<int32_t>(file, sizes[1]),
                     read<double>(file, size_t(sizes[1]) * STATE)};
            length = std::max(length, trace.keys.size());
        }
        std::istringstream engines(qwop_engines());
        for (std::string engine; std::getline(engines, engine, ',');)
            for (int threads : THREADS) {
                const int n = static_cast<int>(traces.size());
                qwop_sim* sim = qwop_create(engine.c_str(), variant.c_str(), n, 0);
                if (!sim) fail("no simulator: " + engine + ", " + variant);
                qwop_set_threads(sim, threads);
                std::vector<uint8_t> keys(n);
                std::vector<double> state(size_t(n) * STATE);
                std::vector<size_t> next(n);
                size_t rows = 0, different = 0;
                for (size_t frame = 0; frame <= length; ++frame) {
                    bool due = false;
                    for (int i = 0; i < n; ++i)
                        due |= next[i] < traces[i].frames.size() && size_t(traces[i].frames[next[i]]) == frame;
                    if (due) qwop_state(sim, state.data());
                    for (int i = 0; i < n; ++i) {
                        const Trace& trace = traces[i];
                        if (next[i] < trace.frames.size() && size_t(trace.frames[next[i]]) == frame) {
                            const double* expected = &trace.states[STATE * next[i]++];
                            for (int at = 0; at < STATE; ++at)
                                different +=
                                    std::memcmp(expected + at, &state[size_t(i) * STATE + at], sizeof(double)) != 0;
                            ++rows;
                        }
                        keys[i] = frame < trace.keys.size() ? trace.keys[frame] : 0;
                    }
                    if (qwop_step(sim, keys.data(), 1) != 0) fail("a key mask is above 15");
                }
                qwop_destroy(sim);
                std::printf("%s %s %d %zu %zu\n", variant.c_str(), engine.c_str(), threads, rows, different);
                std::fflush(stdout);
                played += rows;
                all_different += different;
            }
    }
    return played ? all_different != 0 : 2;
}
