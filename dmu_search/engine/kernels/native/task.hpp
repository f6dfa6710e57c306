// What is to be done, and where its tensors lie.
#pragma once

#include "simd.hpp"

namespace {

// What recurrence.py hands over; keep the two in step. Widths are those of the products of one step:
// product l maps inputs[l] units to outputs[l]. The cell has products 0 .. layers - 1; in layout Lanes
// there may be one more, that of the inputs, whose output the first one's is added to. Arrays of
// pointers have an entry per product or per component of the state; tensors are contiguous, and have
// the shape given.
struct Problem {
    Index cell, layers, products, components, hidden, replicas, batch, times, rows;
    Index symbols, blocks, lanes, threads;
    const Index *inputs, *outputs;
    const Index *order;             // (replica, batch): the sequence at each sorted position
    const Index *active, *offsets;  // (replica, time): sequences that run, and their first row
    void **weights;                 // (replica, inputs[l], outputs[l])
    void **biases;                  // (replica, outputs[l]); null where x holds it
    // What the first product's output is added to, (replica, row, outputs[0]); or the inputs,
    // (replica, row, inputs[layers]); or, if `symbols`, one-hot inputs as int64, (replica, row).
    void *x;
    void **initial, **final;        // (replica, batch, hidden)
    void *states;                   // (replica, row, hidden)
    // Kept for the backward pass, null where there is none.
    void **inner;  // Rows: what product l + 1 reads, (replica, row, inputs[l + 1])
    void **gates;  // Rows: activations of product l, (replica, row, gates_kept * hidden)
    // The state. Rows: (replica, row, hidden), never null, and the first is `states`; Lanes: (replica,
    // block, time, hidden, LANES).
    void **trace;
    // Backward only.
    void *grad_states;                  // (replica, row, hidden), or null
    void **grad_final, **grad_initial;  // (replica, batch, hidden); the former may be null
    void *grad_x;                       // Lanes: as x; null for inputs that need none
    void **grad_outputs;                // Rows: (replica, row, outputs[l])
    void *grad_recurrent;               // GRU in layout Rows: as grad_outputs, of state and weight
    void *previous;                     // Rows: the state before each row, (replica, row, hidden)
    void **grad_weights, **grad_biases;  // Lanes: (replica, block, inputs[l], outputs[l]), ..
};

enum Cell { DMU, RHN, LSTM, GRU, RNN };

constexpr Index LANES = 32;
constexpr Index CACHE_LINE = 64;
constexpr Index MAX_COMPONENTS = 2;

// Bump allocator over one piece of zeroed memory, aligned to cache lines; counts when it has none.
struct Arena {
    char *memory = nullptr;
    size_t used = 0;

    template <typename Real>
    Real *take(Index count) {
        char *start = memory + used;
        used += round_up(count * Index(sizeof(Real)), CACHE_LINE);
        return memory ? reinterpret_cast<Real *>(start) : nullptr;
    }
};

template <typename Real>
Real *real(void *pointer, Index offset) {
    return pointer ? static_cast<Real *>(pointer) + offset : nullptr;
}

// Sequences first .. first + count - 1 of the sorted order of a replica.
template <typename Real>
struct Task {
    const Problem &problem;
    Index replica, first, count, block;

    // How many of them run at a time, and the packed row of the first.
    Index running(Index time) const {
        if (time >= problem.times) return 0;
        const Index active = problem.active[replica * problem.times + time] - first;
        return active < 0 ? 0 : active < count ? active : count;
    }
    Index row(Index time) const {
        return problem.offsets[replica * problem.times + time] + first;
    }
    Index steps() const {
        Index time = 0;
        while (running(time)) ++time;
        return time;
    }
    // Rows of the replica, those of other tasks included.
    Index real_rows() const {
        const Index last = replica * problem.times + problem.times - 1;
        return problem.offsets[last] + problem.active[last];
    }
    // Where a packed tensor of this width has the rows of a time.
    Real *rows(void *tensor, Index width, Index time) const {
        return real<Real>(tensor, (replica * problem.rows + row(time)) * width);
    }
    // Where a (replica, batch, hidden) tensor has a sequence, given by its sorted position.
    Real *sequence(void *tensor, Index position) const {
        const Index original = problem.order[replica * problem.batch + first + position];
        return real<Real>(tensor, (replica * problem.batch + original) * problem.hidden);
    }
    Real *weight(Index layer) const {
        return real<Real>(problem.weights[layer],
                          replica * problem.inputs[layer] * problem.outputs[layer]);
    }
    Real *bias(Index layer) const {
        return real<Real>(problem.biases[layer], replica * problem.outputs[layer]);
    }
    Index widest() const {
        Index widest = problem.hidden;
        for (Index l = 0; l < (problem.symbols ? problem.layers : problem.products); ++l) {
            widest = problem.inputs[l] > widest ? problem.inputs[l] : widest;
            widest = problem.outputs[l] > widest ? problem.outputs[l] : widest;
        }
        return widest;
    }
};

// Activations that a step keeps: vectors per unit of the last product (of each, for an RHN).
Index gates_kept(Index cell) {
    switch (cell) {
        case DMU: return 2;   // keep, content
        case RHN: return 2;   // h, t
        case LSTM: return 5;  // i, f, o, g, tanh(c)
        case GRU: return 4;   // r, z, n, the state's share of n
        default: return 0;    // RNN: the state is its activation
    }
}

}  // namespace
