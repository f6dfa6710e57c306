// Products over all rows at once, before and after the loop. PyTorch's library (MKL) runs at half
// this speed on processors that it does not favour.
#pragma once

#include <memory>
#include <vector>

#include "product.hpp"
#include "sums.hpp"
#include "task.hpp"

namespace {

// What products.py hands over; keep the two in step. Tensors are contiguous.
//   multiply    c = a b + bias    a (replica, row, depth), c (replica, row, columns)
//   correlate   c = a' b          a (replica, row, depth), b (replica, row, columns),
//                                 c (replica, depth, columns), bias (replica, columns): b's sum;
//                                 added to what c and bias hold if accumulate
struct LargeProduct {
    Index replicas, rows, depth, columns, transposed, accumulate, threads;
    void *a;
    void *b;     // multiply: (replica, depth, columns), or with the last two swapped if transposed
    void *bias;  // (replica, columns), or null
    void *c;
};

// Rows that are multiplied, or packed for it, while they are in a near cache.
constexpr Index CHUNK = 192;

// Columns that are packed at a time, at most, in vectors: few enough that CHUNK rows of them stay in a
// near cache.
constexpr Index VECTORS = 1024 / VECTOR_BYTES;
template <typename Real>
constexpr Index COLUMNS = VECTORS * WIDTH<Real>;

// Some columns of one chunk of rows of c = a b + bias.
template <typename Real>
struct Multiply {
    const LargeProduct &problem;
    std::vector<Real> panels, bias, padded;
    Index packed = -1;

    explicit Multiply(const LargeProduct &problem)
        : problem(problem),
          panels(Packed<Real>::size(problem.depth, most_columns())),
          bias(line(most_columns())),
          padded(CHUNK * line(most_columns())) {}

    static Index line(Index columns) { return round_up(columns, WIDTH<Real>); }
    Index most_columns() const {
        return problem.columns < COLUMNS<Real> ? problem.columns : COLUMNS<Real>;
    }
    static Index chunks(const LargeProduct &problem) { return (problem.rows + CHUNK - 1) / CHUNK; }
    static Index tasks_per_replica(const LargeProduct &problem) {
        return (problem.columns + COLUMNS<Real> - 1) / COLUMNS<Real> * chunks(problem);
    }

    void run(Index replica, Index number) {
        const Index part = number / chunks(problem), first = number % chunks(problem) * CHUNK;
        const Index rows = problem.rows - first < CHUNK ? problem.rows - first : CHUNK;
        const Index column = part * COLUMNS<Real>, left = problem.columns - column;
        const Index columns = left < COLUMNS<Real> ? left : COLUMNS<Real>;
        Packed<Real> b{panels.data(), problem.depth, columns};
        pack(b, replica, column);
        const Real *a = real<Real>(problem.a, (replica * problem.rows + first) * problem.depth);
        Real *c = real<Real>(problem.c, (replica * problem.rows + first) * problem.columns + column);
        const Real *sum = problem.bias ? bias.data() : nullptr;
        // Columns that are padded are written elsewhere.
        const bool direct = line(columns) == columns;
        Real *to = direct ? c : padded.data();
        product<Real>(rows, {a, problem.depth, 1, sum, 0, to, direct ? problem.columns : line(columns)}, b);
        for (Index i = 0; i < rows && !direct; ++i)
            memcpy(c + i * problem.columns, to + i * line(columns), columns * sizeof(Real));
    }

    void pack(Packed<Real> &b, Index replica, Index column) {
        const Index wanted = replica * problem.columns + column;
        if (packed == wanted) return;
        packed = wanted;
        const Real *from = real<Real>(problem.b, replica * problem.depth * problem.columns);
        if (problem.transposed)
            b.pack(from + column * problem.depth, 1, problem.depth);
        else
            b.pack(from + column, problem.columns, 1);
        if (problem.bias) memcpy(bias.data(), real<Real>(problem.bias, wanted), b.columns * sizeof(Real));
    }
};

// Some columns of c = a' b, chunk of rows after chunk of rows.
template <typename Real>
struct Correlate {
    // Vectors of columns of a task, at least: fewer than VECTORS only to give each thread a task, but
    // enough to be worth reading all of a again.
    static constexpr Index FEWEST_VECTORS = 4;
    // A term of its sums is what a chunk adds.
    using Upper = UpperSums<Real, 16>;
    const LargeProduct &problem;
    std::vector<Real> panels, padded, strips;
    std::unique_ptr<Real[]> memory;  // of upper sums, which need no zeros

    explicit Correlate(const LargeProduct &problem)
        : problem(problem),
          panels(CHUNK * COLUMNS<Real>),
          padded((problem.depth + 1) * COLUMNS<Real>),
          strips(CHUNK * round_up(problem.depth, MAX_BLOCK)),
          memory(new Real[Upper::numbers(1, padded.size())]) {}

    static Index tasks_per_replica(const LargeProduct &problem) {
        const Index all = vectors(problem), parts = (all + VECTORS - 1) / VECTORS;
        const Index possible = (all + FEWEST_VECTORS - 1) / FEWEST_VECTORS;
        const Index wanted = (problem.threads + problem.replicas - 1) / problem.replicas;
        const Index useful = wanted < possible ? wanted : possible;
        return parts > useful ? parts : useful;
    }

    static Index vectors(const LargeProduct &problem) {
        return (problem.columns + WIDTH<Real> - 1) / WIDTH<Real>;
    }

    // Puts the MAX_BLOCK columns of a that a register block reads next to each other. Row after row,
    // for a comes from far memory, which hands out what lies in sequence much faster.
    void pack_strips(Index rows, const Real *a) {
        const Index whole = problem.depth / MAX_BLOCK * MAX_BLOCK;
        for (Index i = 0; i < rows; ++i, a += problem.depth) {
            Real *to = strips.data() + i * MAX_BLOCK;
            for (Index k = 0; k < whole; k += MAX_BLOCK, to += rows * MAX_BLOCK)
                memcpy(to, a + k, MAX_BLOCK * sizeof(Real));
            for (Index c = 0; c < problem.depth - whole; ++c) to[c] = a[whole + c];
        }
    }

    void run(Index replica, Index part) {
        const Index parts = tasks_per_replica(problem), all = vectors(problem);
        const Index first_column = part * all / parts * WIDTH<Real>;
        const Index end = (part + 1) * all / parts * WIDTH<Real>;
        const Index columns = (end < problem.columns ? end : problem.columns) - first_column;
        const Index line = round_up(columns, WIDTH<Real>);
        Real *c = real<Real>(problem.c, replica * problem.depth * problem.columns + first_column);
        Real *total = problem.bias
                          ? real<Real>(problem.bias, replica * problem.columns + first_column)
                          : nullptr;
        // The lines of c, and after them that of the bias.
        const Index size = (problem.depth + 1) * line;
        Real *sums = padded.data(), *bias = sums + problem.depth * line;
        Upper upper(memory.get(), 1, size);
        memset(sums, 0, size * sizeof(Real));
        for (Index first = 0; first < problem.rows; first += CHUNK) {
            const Index rows = problem.rows - first < CHUNK ? problem.rows - first : CHUNK;
            const Index row = replica * problem.rows + first;
            const Real *a = real<Real>(problem.a, row * problem.depth);
            const Real *b = real<Real>(problem.b, row * problem.columns + first_column);
            Packed<Real> packed{panels.data(), rows, columns};
            packed.pack(b, problem.columns, 1);
            pack_strips(rows, a);
            for (Index k = 0; k < problem.depth; k += MAX_BLOCK) {
                const Index count = problem.depth - k < MAX_BLOCK ? problem.depth - k : MAX_BLOCK;
                Real *sum = sums + k * line;
                product<Real>(count, {strips.data() + k * rows, 1, MAX_BLOCK, sum, line, sum, line},
                              packed);
            }
            if (total) add_rows(packed, bias);
            upper.next(0, sums);
        }
        upper.finish(0, sums);
        for (Index k = 0; k < problem.depth; ++k)
            put(sums + k * line, columns, c + k * problem.columns);
        if (total) put(bias, columns, total);
    }

    void put(const Real *from, Index count, Real *to) const {
        if (problem.accumulate)
            add_to(to, from, count);
        else
            memcpy(to, from, count * sizeof(Real));
    }

    static void add_rows(const Packed<Real> &packed, Real *sums) {
        const Real *from = packed.panels;
        for (Index first = 0; first < packed.vectors(); first += PANEL) {
            const Index here = packed.vectors() - first < PANEL ? packed.vectors() - first : PANEL;
            for (Index v = 0; v < here; ++v) {
                Real *to = sums + (first + v) * WIDTH<Real>;
                Vec<Real> sum{};
                for (Index k = 0; k < packed.depth; ++k)
                    sum += load(from + (k * here + v) * WIDTH<Real>);
                store(to, sum + load(to));
            }
            from += packed.depth * here * WIDTH<Real>;
        }
    }
};

}  // namespace
