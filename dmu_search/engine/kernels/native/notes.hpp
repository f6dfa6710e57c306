// Notes in and notes out: products with zeros and ones of which few are one, and the cross-entropy of
// yes-or-no questions.
#pragma once

#include <math.h>
#include <stdint.h>

#include "large.hpp"

namespace {

// What notes.py hands over; keep the two in step. Tensors are contiguous, notes are bytes of 0 or 1.
//   add_rows      c = notes b + bias    notes (replica, row, depth), b (replica, depth, columns),
//                                       c (replica, row, columns), bias (replica, columns)
//   collect_rows  c = notes' b          b (replica, row, columns), c (replica, depth, columns),
//                                       bias (replica, columns): b's sum
//   note_nll      c = sum over columns of log(1 + exp(b)) - notes b    b (replica, row, columns),
//                                       notes alike, c (replica, row); depth is columns
//   note_slopes   c = (sigmoid(b) - notes) bias    as above, but c alike and bias (replica, row)
struct NotesProblem {
    Index replicas, rows, depth, columns, threads;
    const uint8_t *notes;
    void *b, *bias, *c;
};

// Calls f(note) for all notes of a step.
template <typename F>
INLINE void for_notes(const uint8_t *notes, Index count, F f) {
    constexpr Index step = sizeof(uint64_t);
    Index first = 0;
    for (; first + step <= count; first += step) {
        uint64_t bytes;
        memcpy(&bytes, notes + first, sizeof bytes);
        if (!bytes) continue;
        for (Index note = first; note < first + step; ++note)
            if (notes[note]) f(note);
    }
    for (; first < count; ++first)
        if (notes[first]) f(first);
}

// A chunk of rows, for what does each row by itself.
template <typename Real>
struct NotesChunk {
    const NotesProblem &problem;

    explicit NotesChunk(const NotesProblem &problem) : problem(problem) {}
    static Index tasks_per_replica(const NotesProblem &problem) {
        return (problem.rows + CHUNK - 1) / CHUNK;
    }
    // Calls f(row) for its rows, counted from the first one of all replicas.
    template <typename F>
    INLINE void for_rows(Index replica, Index chunk, F f) const {
        const Index end = (chunk + 1) * CHUNK < problem.rows ? (chunk + 1) * CHUNK : problem.rows;
        for (Index row = chunk * CHUNK; row < end; ++row) f(replica * problem.rows + row);
    }
    INLINE const uint8_t *notes(Index row) const { return problem.notes + row * problem.depth; }
    INLINE Real *b(Index row) const { return real<Real>(problem.b, row * problem.columns); }
};

template <typename Real>
struct AddRows : NotesChunk<Real> {
    using NotesChunk<Real>::NotesChunk;

    void run(Index replica, Index chunk) {
        const NotesProblem &p = this->problem;
        const Real *bias = real<Real>(p.bias, replica * p.columns);
        this->for_rows(replica, chunk, [&](Index row) INLINE_LAMBDA {
            Real *c = real<Real>(p.c, row * p.columns);
            memcpy(c, bias, p.columns * sizeof(Real));
            for_notes(this->notes(row), p.depth, [&](Index note) INLINE_LAMBDA {
                add_to(c, real<Real>(p.b, (replica * p.depth + note) * p.columns), p.columns);
            });
        });
    }
};

// Some columns of all rows, so that threads share no sum.
template <typename Real>
struct CollectRows {
    static constexpr Index FEWEST_COLUMNS = 64;
    using Upper = UpperSums<Real, 128>;
    const NotesProblem &problem;
    std::unique_ptr<Real[]> memory;  // of upper sums, which need no zeros

    explicit CollectRows(const NotesProblem &problem)
        : problem(problem), memory(new Real[Upper::numbers(problem.depth + 1, problem.columns)]) {}
    static Index tasks_per_replica(const NotesProblem &problem) {
        const Index possible = (problem.columns + FEWEST_COLUMNS - 1) / FEWEST_COLUMNS;
        const Index wanted = (problem.threads + problem.replicas - 1) / problem.replicas;
        return wanted < possible ? wanted : possible;
    }
    void run(Index replica, Index part) {
        const NotesProblem &p = problem;
        const Index parts = tasks_per_replica(p), first = part * p.columns / parts;
        const Index count = (part + 1) * p.columns / parts - first;
        Real *c = real<Real>(p.c, replica * p.depth * p.columns + first);
        Real *total = real<Real>(p.bias, replica * p.columns + first);
        for (Index note = 0; note < p.depth; ++note)
            memset(c + note * p.columns, 0, count * sizeof(Real));
        memset(total, 0, count * sizeof(Real));
        // A group for each note, and one for the bias.
        Upper upper(memory.get(), p.depth + 1, count);
        for (Index row = replica * p.rows; row < (replica + 1) * p.rows; ++row) {
            const Real *b = real<Real>(p.b, row * p.columns + first);
            for_notes(p.notes + row * p.depth, p.depth, [&](Index note) INLINE_LAMBDA {
                add_to(c + note * p.columns, b, count);
                upper.next(note, c + note * p.columns);
            });
            add_to(total, b, count);
            upper.next(p.depth, total);
        }
        for (Index note = 0; note < p.depth; ++note) upper.finish(note, c + note * p.columns);
        upper.finish(p.depth, total);
    }
};

// A vector of notes as numbers.
template <typename Real>
INLINE Vec<Real> load_notes(const uint8_t *from) {
    typedef uint8_t Bytes __attribute__((vector_size(WIDTH<Real>)));
    Bytes bytes;
    memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(bytes, Vec<Real>);
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)). Factors are at most 2, so many of them can be
// multiplied before there is need of a logarithm.
template <typename Real>
struct NoteNll : NotesChunk<Real> {
    using NotesChunk<Real>::NotesChunk;
    static constexpr Index width = WIDTH<Real>;
    static constexpr Index FACTORS = 64;

    struct Sums {
        Vec<Real> linear{}, factors = splat<Real>(1);

        INLINE void add(Vec<Real> x, Vec<Real> note) {
            const Vec<Real> size = x < Real(0) ? -x : x;
            const Exponential<Real> e(-size, Simd<Real>::largest_exponent);
            factors *= Real(1) + (e.scale + e.scale * e.rest);
            linear += (x > Real(0) ? x : Vec<Real>{}) - x * note;
        }
    };

    void run(Index replica, Index chunk) {
        const NotesProblem &p = this->problem;
        this->for_rows(replica, chunk, [&](Index row) INLINE_LAMBDA {
            Real nll = 0;
            for (Index first = 0; first < p.columns; first += FACTORS) {
                const Index left = p.columns - first, count = left < FACTORS ? left : FACTORS;
                nll += part(this->b(row) + first, this->notes(row) + first, count);
            }
            *real<Real>(p.c, row) = nll;
        });
    }

    static INLINE Real part(const Real *x, const uint8_t *notes, Index count) {
        Sums sums;
        Index at = 0;
        for (; at + width <= count; at += width) sums.add(load(x + at), load_notes<Real>(notes + at));
        if (at < count) {
            // Questions that are not there: a certain no.
            Real rest[width];
            uint8_t answers[width] = {};
            for (Index i = 0; i < width; ++i) rest[i] = at + i < count ? x[at + i] : Real(-1000);
            memcpy(answers, notes + at, count - at);
            sums.add(load(rest), load_notes<Real>(answers));
        }
        Real linear[width], factors[width];
        store(linear, sums.linear);
        store(factors, sums.factors);
        for (Index half = width / 2; half; half /= 2)
            for (Index i = 0; i < half; ++i) {
                linear[i] += linear[i + half];
                factors[i] *= factors[i + half];
            }
        return linear[0] + log(factors[0]);
    }
};

template <typename Real>
struct NoteSlopes : NotesChunk<Real> {
    using NotesChunk<Real>::NotesChunk;

    void run(Index replica, Index chunk) {
        const NotesProblem &p = this->problem;
        constexpr Index width = WIDTH<Real>;
        this->for_rows(replica, chunk, [&](Index row) INLINE_LAMBDA {
            const Real *x = this->b(row);
            const uint8_t *notes = this->notes(row);
            const Real scale = *real<Real>(p.bias, row);
            Real *c = real<Real>(p.c, row * p.columns);
            Index at = 0;
            for (; at + width <= p.columns; at += width)
                store(c + at, (sigmoid<Real>(load(x + at)) - load_notes<Real>(notes + at)) * scale);
            if (at == p.columns) return;
            const Part rest{p.columns - at};
            uint8_t answers[width] = {};
            memcpy(answers, notes + at, p.columns - at);
            rest.put(c + at, (sigmoid<Real>(rest.get(x + at)) - load_notes<Real>(answers)) * scale);
        });
    }
};

}  // namespace
