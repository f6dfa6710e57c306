// The recurrence of DMU, RHN, LSTM, GRU and RNN over packed sequences, forwards and backwards.
//
// build.py builds it with the user's own compiler at first use, recurrence.py calls it. It holds what has
// to happen step by step; products over all rows at once stay with PyTorch. Sequences never touch
// each other inside the loop, so the work is cut into tasks of one replica and a range of its
// sequences (sorted by length, longest first), and threads take one task after the other. Neither
// the cut nor the number of threads changes the order of any sum: results are the same bit for bit.
#include <stdlib.h>
#if defined(__linux__)
#include <malloc.h>
#endif

#include <atomic>
#include <thread>
#include <vector>

#include "cells.hpp"
#include "lanes.hpp"
#include "large.hpp"
#include "notes.hpp"
#include "rows.hpp"

namespace {

template <template <class> class Cell, class Layout>
void run_task(const Task<typename Layout::Real> &task, Arena &arena, bool backward) {
    Layout layout(task, arena, backward);
    Buffers<Layout> buffers(layout, arena);
    if (!arena.memory) return;
    const Problem &problem = task.problem;
    if (!backward) {
        for (Index time = 0; task.running(time); ++time) {
            layout.start_step(time, false);
            Cell<Layout>::forward(layout, buffers);
            layout.end_forward_step();
        }
        layout.end_forward();
        return;
    }
    for (Index time = task.steps() - 1; time >= 0; --time) {
        layout.start_step(time, true);
        for (Index c = 0; c < problem.components; ++c)
            layout.start_sequences(c, layout.scratch(buffers.carry[c], 0));
        if (layout.recomputes()) Cell<Layout>::forward(layout, buffers);
        Cell<Layout>::backward(layout, buffers);
        layout.end_backward_step();
    }
    for (Index c = 0; c < problem.components; ++c)
        layout.end_backward(c, layout.scratch(buffers.carry[c], 0));
}

template <class Layout>
void run_cell(const Task<typename Layout::Real> &task, Arena &arena, bool backward) {
    switch (task.problem.cell) {
        case DMU: return run_task<Dmu, Layout>(task, arena, backward);
        case RHN: return run_task<Rhn, Layout>(task, arena, backward);
        case LSTM: return run_task<Lstm, Layout>(task, arena, backward);
        case GRU: return run_task<Gru, Layout>(task, arena, backward);
        default: return run_task<Rnn, Layout>(task, arena, backward);
    }
}

template <typename Real>
void run_in_layout(const Task<Real> &task, Arena &arena, bool backward) {
    if (task.problem.lanes)
        run_cell<Lanes<Real>>(task, arena, backward);
    else
        run_cell<Rows<Real>>(task, arena, backward);
}

// Takes tasks until none is left. Memory is allocated once, for the largest.
template <typename Real>
bool work(const Problem &problem, bool backward, std::atomic<Index> &next) {
    const auto task = [&](Index number) {
        const Index replica = number / problem.blocks, block = number % problem.blocks;
        const Index first = block * problem.batch / problem.blocks;
        const Index end = (block + 1) * problem.batch / problem.blocks;
        return Task<Real>{problem, replica, first, end - first, block};
    };
    Arena measure;
    // The last block is never the smaller one.
    run_in_layout(task(problem.replicas * problem.blocks - 1), measure, backward);
    void *memory = nullptr;
    if (posix_memalign(&memory, CACHE_LINE, measure.used)) return false;
    const Index tasks = problem.replicas * problem.blocks;
    for (Index number; (number = next++) < tasks;) {
        memset(memory, 0, measure.used);
        Arena arena{static_cast<char *>(memory)};
        // The way back begins with what the way there kept last: it may still be in a cache.
        run_in_layout(task(backward ? tasks - 1 - number : number), arena, backward);
    }
    free(memory);
    return true;
}

// Calls share() on so many threads, this one included.
template <typename F>
void on_threads(Index count, F share) {
    std::vector<std::thread> threads;
    for (Index i = 1; i < count; ++i) threads.emplace_back(share);
    share();
    for (std::thread &thread : threads) thread.join();
}

template <typename Real>
int run_problem(const Problem &problem, bool backward) {
    std::atomic<Index> next{0};
    std::atomic<bool> enough_memory{true};
    on_threads(problem.threads, [&] {
        if (!work<Real>(problem, backward, next)) enough_memory = false;
    });
    return enough_memory ? 0 : 1;
}

template <class Part, class P>
void run_parts(const P &problem) {
    const Index each = Part::tasks_per_replica(problem);
    std::atomic<Index> next{0};
    on_threads(problem.threads, [&] {
        Part part(problem);
        for (Index number; (number = next++) < problem.replicas * each;)
            part.run(number / each, number % each);
    });
}

}  // namespace

extern "C" {

// Sequences side by side in layout Lanes.
int64_t lane_count() { return LANES; }

// Numbers in a vector.
int64_t vector_width() { return WIDTH<REAL>; }

// Lets freed memory stay with the process. By default each training step would give tens of megabytes
// back and fault them in again page by page, a tenth of its time.
void keep_freed_memory() {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that is allowed
    mallopt(M_TRIM_THRESHOLD, 1 << 29);
#endif
}

// Returns 0, or 1 if there is no memory. REAL is float or double: a library holds one of them, so
// that building it takes half as long.
int run(const void *problem, int backward) {
    return run_problem<REAL>(*static_cast<const Problem *>(problem), backward);
}

void multiply(const void *problem) {
    run_parts<Multiply<REAL>>(*static_cast<const LargeProduct *>(problem));
}

void correlate(const void *problem) {
    run_parts<Correlate<REAL>>(*static_cast<const LargeProduct *>(problem));
}

void add_rows(const void *problem) {
    run_parts<AddRows<REAL>>(*static_cast<const NotesProblem *>(problem));
}

void collect_rows(const void *problem) {
    run_parts<CollectRows<REAL>>(*static_cast<const NotesProblem *>(problem));
}

void note_nll(const void *problem) {
    run_parts<NoteNll<REAL>>(*static_cast<const NotesProblem *>(problem));
}

void note_slopes(const void *problem) {
    run_parts<NoteSlopes<REAL>>(*static_cast<const NotesProblem *>(problem));
}
}
