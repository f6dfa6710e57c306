// Small products: register blocks over a packed weight.
#pragma once

#include "simd.hpp"

namespace {

constexpr Index PANEL = 2;  // vectors side by side in a packed panel
constexpr Index MAX_BLOCK = REGISTERS == 32 ? 12 : 6;

// A matrix (depth, columns) as panels of PANEL vectors of columns, the last one narrower if their
// number is odd, each (depth, panel width) in one piece; columns are padded with zeros.
template <typename Real>
struct Packed {
    Real *panels;
    Index depth, columns;

    static Index size(Index depth, Index columns) { return depth * round_up(columns, WIDTH<Real>); }
    Index vectors() const { return (columns + WIDTH<Real> - 1) / WIDTH<Real>; }

    // Reads element (k, c) at k * row_step + c * column_step.
    void pack(const Real *matrix, Index row_step, Index column_step) {
        if (column_step == 1) return pack_rows(matrix, row_step);
        Real *to = panels;
        for (Index first = 0; first < vectors(); first += PANEL) {
            const Index begin = first * WIDTH<Real>, end = begin + in_panel(first) * WIDTH<Real>;
            for (Index k = 0; k < depth; ++k)
                for (Index c = begin; c < end; ++c)
                    *to++ = c < columns ? matrix[k * row_step + c * column_step] : Real(0);
        }
    }

   private:
    // Vectors in the panel that begins with this one.
    Index in_panel(Index first) const { return vectors() - first < PANEL ? vectors() - first : PANEL; }

    // Row after row: what comes from far memory comes much faster in sequence.
    void pack_rows(const Real *row, Index row_step) {
        constexpr Index width = WIDTH<Real>;
        for (Index k = 0; k < depth; ++k, row += row_step)
            for (Index vector = 0; vector < vectors(); ++vector) {
                const Index first = vector / PANEL * PANEL, at = k * in_panel(first) + vector - first;
                const Index left = columns - vector * width;
                Real *to = panels + (first * depth + at) * width;
                if (left >= width)
                    store(to, load(row + vector * width));
                else
                    store(to, Part{left}.get(row + vector * width));
            }
    }
};

// C = S + A B for ROWS rows of A and PANELS panels of VECTORS vectors of B; all sums in registers.
// Element (i, k) of A lies at i * a_line + k * a_step. S may be null for 0; a bias has s_line 0. It is
// added last: it may be a long sum, whose digits would get lost in every term.
template <typename Real, int ROWS, int PANELS, int VECTORS>
void product_block(const Real *__restrict a, Index a_line, Index a_step, const Real *__restrict b,
                   Index panel_size, Index depth, const Real *s, Index s_line, Real *c, Index c_line) {
    constexpr Index width = WIDTH<Real>;
    Vec<Real> sum[ROWS][PANELS * VECTORS] = {};
    for (Index k = 0; k < depth; ++k) {
        Vec<Real> column[PANELS * VECTORS];
        UNROLL
        for (int p = 0; p < PANELS; ++p) {
            UNROLL
            for (int v = 0; v < VECTORS; ++v)
                column[p * VECTORS + v] = load(b + p * panel_size + v * width);
        }
        UNROLL
        for (int i = 0; i < ROWS; ++i) {
            const Vec<Real> element = splat(a[i * a_line]);
            UNROLL
            for (int v = 0; v < PANELS * VECTORS; ++v) sum[i][v] += element * column[v];
        }
        a += a_step;
        b += VECTORS * width;
    }
    if (s) {
        UNROLL
        for (int i = 0; i < ROWS; ++i) {
            UNROLL
            for (int v = 0; v < PANELS * VECTORS; ++v) sum[i][v] += load(s + i * s_line + v * width);
        }
    }
    UNROLL
    for (int i = 0; i < ROWS; ++i) {
        UNROLL
        for (int v = 0; v < PANELS * VECTORS; ++v) store(c + i * c_line + v * width, sum[i][v]);
    }
}

template <typename Real>
struct Operands {
    const Real *a;
    Index a_line, a_step;
    const Real *s;
    Index s_line;
    Real *c;
    Index c_line;
};

template <typename Real, int PANELS, int VECTORS, int ROWS>
void product_rows(Index rows, const Operands<Real> &o, const Real *b, Index panel_size, Index depth) {
    if (rows == ROWS)
        product_block<Real, ROWS, PANELS, VECTORS>(o.a, o.a_line, o.a_step, b, panel_size, depth, o.s,
                                                   o.s_line, o.c, o.c_line);
    else if constexpr (ROWS > 1)
        product_rows<Real, PANELS, VECTORS, ROWS - 1>(rows, o, b, panel_size, depth);
}

// Terms that are added up in registers before they are added to a longer sum.
constexpr Index LONGEST_SUM = 256;

// C = S + A B for so many rows; C and S have room for B's padded columns.
template <typename Real>
void product(Index rows, const Operands<Real> &operands, const Packed<Real> &b) {
    constexpr Index width = WIDTH<Real>;
    const Index blocks = (rows + MAX_BLOCK - 1) / MAX_BLOCK;
    const Index largest = blocks ? (rows + blocks - 1) / blocks : 0;
    Index vector = 0;
    while (vector < b.vectors()) {
        const Index left = b.vectors() - vector;
        const Real *panel = b.panels + vector * width * b.depth;
        // Few rows leave registers for several panels, whose sums then hide each other's latency.
        Index taken = left >= PANEL ? PANEL : 1;
        if (left >= 2 * PANEL && largest <= MAX_BLOCK / 2) taken = 2 * PANEL;
        if (left >= 4 * PANEL && largest <= MAX_BLOCK / 6) taken = 4 * PANEL;
        const Index panel_size = b.depth * PANEL * width, line = (taken < PANEL ? taken : PANEL) * width;
        // A panel stays in the nearest cache for all blocks of rows.
        for (Index block = 0; block < blocks; ++block) {
            const Index first = block * rows / blocks, count = (block + 1) * rows / blocks - first;
            Operands<Real> here = operands;
            here.a += first * here.a_line;
            here.c += first * here.c_line + vector * width;
            if (here.s) here.s += first * here.s_line + vector * width;
            for (Index k = 0; k < b.depth; k += LONGEST_SUM) {
                const Index depth = b.depth - k < LONGEST_SUM ? b.depth - k : LONGEST_SUM;
                const Real *part = panel + k * line;
                if (taken == 4 * PANEL)
                    product_rows<Real, 4, PANEL, MAX_BLOCK / 6>(count, here, part, panel_size, depth);
                else if (taken == 2 * PANEL)
                    product_rows<Real, 2, PANEL, MAX_BLOCK / 2>(count, here, part, panel_size, depth);
                else if (taken == PANEL)
                    product_rows<Real, 1, PANEL, MAX_BLOCK>(count, here, part, panel_size, depth);
                else
                    product_rows<Real, 1, 1, MAX_BLOCK>(count, here, part, panel_size, depth);
                here.a += depth * here.a_step;
                here.s = here.c, here.s_line = here.c_line;
            }
        }
        vector += taken;
    }
}

}  // namespace
