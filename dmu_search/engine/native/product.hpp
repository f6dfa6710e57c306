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
        Real *to = panels;
        for (Index first = 0; first < vectors(); first += PANEL) {
            const Index here = vectors() - first < PANEL ? vectors() - first : PANEL;
            for (Index k = 0; k < depth; ++k)
                for (Index c = first * WIDTH<Real>; c < (first + here) * WIDTH<Real>; ++c)
                    *to++ = c < columns ? matrix[k * row_step + c * column_step] : Real(0);
        }
    }
};

// C = A B for ROWS rows of A and PANELS panels of VECTORS vectors of B; all sums in registers.
template <typename Real, int ROWS, int PANELS, int VECTORS>
void product_block(const Real *__restrict a, Index a_line, const Real *__restrict b, Index depth,
                   Real *__restrict c, Index c_line) {
    constexpr Index width = WIDTH<Real>;
    const Index panel_size = depth * PANEL * width;
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
        ++a;
        b += VECTORS * width;
    }
    UNROLL
    for (int i = 0; i < ROWS; ++i) {
        UNROLL
        for (int v = 0; v < PANELS * VECTORS; ++v) store(c + i * c_line + v * width, sum[i][v]);
    }
}

template <typename Real, int PANELS, int VECTORS, int ROWS>
void product_rows(Index rows, const Real *a, Index a_line, const Real *b, Index depth, Real *c,
                  Index c_line) {
    if (rows == ROWS)
        product_block<Real, ROWS, PANELS, VECTORS>(a, a_line, b, depth, c, c_line);
    else if constexpr (ROWS > 1)
        product_rows<Real, PANELS, VECTORS, ROWS - 1>(rows, a, a_line, b, depth, c, c_line);
}

// C = A B, A (rows, depth) with lines of a_line, C with room for B's padded columns.
template <typename Real>
void product(Index rows, const Real *a, Index a_line, const Packed<Real> &b, Real *c, Index c_line) {
    constexpr Index width = WIDTH<Real>;
    const Index blocks = (rows + MAX_BLOCK - 1) / MAX_BLOCK;
    Index vector = 0;
    while (vector < b.vectors()) {
        const Index left = b.vectors() - vector;
        const Real *panel = b.panels + vector * width * b.depth;
        // Few rows leave registers for several panels, whose sums then hide each other's latency.
        const Index largest = rows < MAX_BLOCK ? rows : (rows + blocks - 1) / blocks;
        Index done;
        if (left >= 4 * PANEL && largest <= MAX_BLOCK / 6)
            done = 4 * PANEL;
        else if (left >= 2 * PANEL && largest <= MAX_BLOCK / 2)
            done = 2 * PANEL;
        else
            done = left >= PANEL ? PANEL : 1;
        // A panel stays in the nearest cache for all blocks of rows.
        for (Index block = 0; block < blocks; ++block) {
            const Index first = block * rows / blocks, count = (block + 1) * rows / blocks - first;
            const Real *from = a + first * a_line;
            Real *to = c + first * c_line + vector * width;
            if (done == 4 * PANEL)
                product_rows<Real, 4, PANEL, MAX_BLOCK / 6>(count, from, a_line, panel, b.depth, to, c_line);
            else if (done == 2 * PANEL)
                product_rows<Real, 2, PANEL, MAX_BLOCK / 2>(count, from, a_line, panel, b.depth, to, c_line);
            else if (done == PANEL)
                product_rows<Real, 1, PANEL, MAX_BLOCK>(count, from, a_line, panel, b.depth, to, c_line);
            else
                product_rows<Real, 1, 1, MAX_BLOCK>(count, from, a_line, panel, b.depth, to, c_line);
        }
        vector += done;
    }
}

}  // namespace
