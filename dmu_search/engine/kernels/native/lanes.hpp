// Layout Lanes: a line is a unit, its value in each of up to LANES sequences side by side. For tiny
// networks, whose few units would leave most of a vector empty.
#pragma once

#include <type_traits>
#include <vector>

#include "sums.hpp"
#include "task.hpp"

namespace {

template <typename Scalar>
struct Lanes {
    using Real = Scalar;
    static constexpr Index width = WIDTH<Real>;
    const Task<Real> &task;
    const Problem &problem;
    const bool backward;
    // The gradients of weights are sums over steps, added up in registers for so many steps at a time;
    // adding each step's share in memory takes up to a tenth longer in all.
    static constexpr Index STEPS = 4;
    static constexpr int SIDE = REGISTERS == 32 ? 5 : 3;
    struct Share {
        const Real *inputs, *outputs;
        Index filled;
    };
    Share *shares;
    // The gradients of all weights and biases, each lane its own, and of the table. A term is what
    // STEPS steps add.
    using Upper = UpperSums<Real, 16>;
    Real *sums;
    Upper upper;
    std::vector<Real *> biases, weight_sums, bias_sums;
    Real *initial[MAX_COMPONENTS], *states[MAX_COMPONENTS][2];
    Real *scratch_inner, *scratch_gates, *table, *table_sums;
    Real *x_lanes, *inputs_lanes, *grad_lanes, *outputs_lanes, *recurrent_lanes;
    Index now = 0, sequences = 0, filled = 0, step = 0;

    Lanes(const Task<Real> &task, Arena &arena, bool backward)
        : task(task),
          problem(task.problem),
          backward(backward),
          sums(arena.take<Real>(sums_size())),
          upper(arena.take<Real>(Upper::numbers(1, sums_size())), 1, sums_size()) {
        for (Index l = 0; l < problem.layers; ++l)
            biases.push_back(arena.take<Real>(problem.outputs[l] * LANES));
        table_sums = sums;
        for (Index l = 0; l < problem.products && backward; ++l) {
            weight_sums.push_back(table_sums);
            table_sums += looks_up(l) ? 0 : size(l) * width;
            bias_sums.push_back(table_sums);
            table_sums += problem.outputs[l] * width;
        }
        table = arena.take<Real>(table_size());
        for (Index c = 0; c < problem.components; ++c) {
            initial[c] = arena.take<Real>(problem.hidden * LANES);
            for (Real *&state : states[c]) state = arena.take<Real>(problem.hidden * LANES);
        }
        // What shares point at differs from step to step.
        scratch_inner = arena.take<Real>(STEPS * problem.layers * buffer_size());
        outputs_lanes = arena.take<Real>(STEPS * problem.layers * buffer_size());
        for (Real **buffer : {&inputs_lanes, &recurrent_lanes})
            *buffer = arena.take<Real>(STEPS * buffer_size());
        shares = arena.take<Share>(STEPS * problem.products);
        scratch_gates = arena.take<Real>(problem.layers * gates_size());
        for (Real **buffer : {&x_lanes, &grad_lanes})
            *buffer = arena.take<Real>(buffer_size());
        if (arena.memory) read_weights_and_states();
    }
    void read_weights_and_states() {
        for (Index at = 0; at < size(problem.layers) && problem.symbols; ++at)
            table[at] =
                task.weight(problem.layers)[at] + task.bias(problem.layers)[at % problem.outputs[0]];
        for (Index l = 0; l < problem.layers; ++l)
            if (const Real *bias = task.bias(l))
                for (Index at = 0; at < problem.outputs[l] * LANES; ++at)
                    biases[l][at] = bias[at / LANES];
        for (Index c = 0; c < problem.components; ++c)
            for (Index i = 0; i < task.count; ++i) {
                const Real *from = task.sequence(problem.initial[c], i);
                for (Index j = 0; j < problem.hidden; ++j) initial[c][j * LANES + i] = from[j];
            }
    }

    // Numbers of the matrix of product l, and whether that is a table of the rows of symbols.
    Index size(Index l) const {
        return l < problem.products ? problem.inputs[l] * problem.outputs[l] : 0;
    }
    bool looks_up(Index l) const { return problem.symbols && l == problem.layers; }
    Index table_size() const { return problem.symbols ? size(problem.layers) : 0; }
    Index sums_size() const {
        Index numbers = table_size();
        for (Index l = 0; l < problem.products; ++l)
            numbers += ((looks_up(l) ? 0 : size(l)) + problem.outputs[l]) * width;
        return backward ? numbers : 0;
    }
    Index buffer_size() const { return task.widest() * LANES; }
    Index lines(Index units) const { return units; }
    Index length(Index) const { return filled; }
    // Whether a step is computed again for its gradient: of all that it made only the state is kept, as
    // writing the rest and reading it again takes longer. An RNN's step makes nothing else.
    bool recomputes() const { return backward && gates_kept(problem.cell); }

    // Lanes of a vector beyond the running sequences compute on with old, finite numbers. Nothing
    // reads them; their gradients are 0, so they add nothing to those of the weights.
    void start_step(Index time, bool backward) {
        now = time, sequences = task.running(time);
        filled = round_up(sequences, width);
        read_inputs();
        if (!backward || recomputes()) project();
        if (backward && problem.grad_states)
            read(task.rows(problem.grad_states, problem.hidden, now), problem.hidden, grad_lanes);
        if (backward && time >= AHEAD) prefetch_kept(time - AHEAD);
        prefetch_rows(backward ? time - AHEAD : time + AHEAD);
    }
    // A step takes less time than memory does to answer, and the pieces that it reads and writes are
    // too short for hardware to see where they go on.
    static constexpr Index AHEAD = 2;
    void prefetch_rows(Index time) const {
        if (time < 0 || time >= problem.times) return;
        const Index count = task.running(time);
        if (problem.symbols)
            prefetch(symbols(time), count);
        else
            prefetch(x_rows(problem.x, time), count * x_units());
        if (!backward) {
            prefetch(task.rows(problem.states, problem.hidden, time), count * problem.hidden);
        } else {
            prefetch(x_rows(problem.grad_x, time), count * x_units());
            prefetch(task.rows(problem.grad_states, problem.hidden, time), count * problem.hidden);
        }
    }
    void prefetch_kept(Index time) const {
        for (Index c = 0; c < problem.components; ++c) prefetch(kept(c, time), problem.hidden * LANES);
    }
    template <typename Number>
    static void prefetch(const Number *from, Index count) {
        if (!from) return;
        const char *at = reinterpret_cast<const char *>(from);
        for (const char *end = at + count * sizeof(Number); at < end; at += CACHE_LINE)
            __builtin_prefetch(at);
    }
    // Calls f(sequence, unit, units) for all of them. With the number of units known to the compiler, a
    // sequence's units are moved without a loop.
    template <int UNITS = 12, typename F>
    INLINE void for_elements(Index units, F f) const {
        if (units == UNITS) {
            for (Index i = 0; i < sequences; ++i) {
                UNROLL
                for (int j = 0; j < UNITS; ++j) f(i, Index(j), Index(UNITS));
            }
        } else if constexpr (UNITS > 1) {
            for_elements<UNITS - 1>(units, f);
        } else {
            for (Index i = 0; i < sequences; ++i)
                for (Index j = 0; j < units; ++j) f(i, j, units);
        }
    }
    // Between rows (sequence, unit) and lanes (unit, sequence).
    void read(const Real *rows, Index units, Real *to) const {
        for_elements(units, [=](Index i, Index j, Index units) INLINE_LAMBDA {
            to[j * LANES + i] = rows[i * units + j];
        });
    }
    void write(const Real *from, Index units, Real *rows) const {
        for_elements(units, [=](Index i, Index j, Index units) INLINE_LAMBDA {
            rows[i * units + j] = from[j * LANES + i];
        });
    }

    // Whether x holds the inputs of a product of their own, and how wide it is.
    bool takes_inputs() const { return problem.products > problem.layers; }
    Index x_units() const { return takes_inputs() ? problem.inputs[problem.layers] : problem.outputs[0]; }
    Real *x_rows(void *tensor, Index time) const { return task.rows(tensor, x_units(), time); }
    const int64_t *symbols(Index time) const {
        return real<int64_t>(problem.x, task.replica * problem.rows + task.row(time));
    }
    void read_inputs() const {
        if (takes_inputs() && !problem.symbols)
            read(x_rows(problem.x, now), x_units(), inputs().at);
    }
    // Brings into lanes what the first product's output is added to.
    void project() const {
        const Index input = problem.layers;
        if (!takes_inputs()) {
            read(x_rows(problem.x, now), x_units(), x_lanes);
        } else if (!problem.symbols) {
            multiply(input, inputs(), scratch(x_lanes, 0), task.bias(input));
        } else {
            const int64_t *symbol = symbols(now);
            for_elements(problem.outputs[0], [=](Index i, Index j, Index units) INLINE_LAMBDA {
                x_lanes[j * LANES + i] = table[symbol[i] * units + j];
            });
        }
    }
    void end_backward_step() {
        project_back();
        if (++step == STEPS) add_shares();
    }
    // Takes from lanes the gradients of x and of the product of the inputs.
    void project_back() const {
        const Index input = problem.layers;
        const View<Real> outputs = grad_output(0, 0);
        if (!takes_inputs()) {
            write(outputs.at, x_units(), x_rows(problem.grad_x, now));
        } else if (!problem.symbols) {
            accumulate(input, inputs(), outputs);
            if (!problem.grad_x) return;
            multiply_back(input, outputs, scratch(x_lanes, 0));
            write(x_lanes, x_units(), x_rows(problem.grad_x, now));
        } else {
            const int64_t *symbol = symbols(now);
            for_elements(problem.outputs[0], [=](Index i, Index j, Index units) INLINE_LAMBDA {
                table_sums[symbol[i] * units + j] += outputs.at[j * LANES + i];
            });
        }
    }
    View<Real> scratch(Real *buffer, Index gate) const { return {buffer, LANES, gate * LANES}; }
    Real *kept(Index c, Index time) const {
        const Index step = (task.replica * problem.blocks + task.block) * problem.times + time;
        return real<Real>(problem.trace[c], step * problem.hidden * LANES);
    }
    View<Real> x(Index gate) const { return scratch(x_lanes, gate); }
    View<Real> bias(Index l, Index gate) const { return scratch(biases[l], gate); }
    View<Real> state_at(Index c, Index time, bool keep) const {
        if (time < 0) return scratch(initial[c], 0);
        return scratch(keep && problem.trace[c] ? kept(c, time) : states[c][time % 2], 0);
    }
    View<Real> state(Index c) const { return state_at(c, now, !recomputes()); }
    View<Real> state_before(Index c) const { return state_at(c, now - 1, true); }
    View<Real> inner(Index l) const { return of_step(scratch_inner, problem.layers, l, 0); }
    View<Real> of_step(Real *buffers, Index each, Index number, Index gate) const {
        return scratch(buffers + (step * each + number) * buffer_size(), gate);
    }
    View<Real> gates(Index l) const {
        return scratch(scratch_gates + l * gates_size(), problem.hidden);
    }
    Index gates_size() const { return gates_kept(problem.cell) * problem.hidden * LANES; }
    View<Real> inputs() const { return of_step(inputs_lanes, 1, 0, 0); }
    View<Real> grad_output(Index l, Index gate) const {
        return of_step(outputs_lanes, problem.layers, l, gate);
    }
    View<Real> grad_recurrent() const { return of_step(recurrent_lanes, 1, 0, problem.hidden); }
    View<Real> grad_state() const {
        return scratch(problem.grad_states ? grad_lanes : nullptr, 0);
    }

    // to = from W_l + bias, or plus 0 where that is null.
    void multiply(Index l, View<Real> from, View<Real> to, const Real *bias = nullptr) const {
        const Index in = problem.inputs[l], out = problem.outputs[l];
        multiply({task.weight(l), in, out, out, 1}, bias, from.at, to.at);
    }
    // to = from W_l'.
    void multiply_back(Index l, View<Real> from, View<Real> to) const {
        const Index in = problem.inputs[l], out = problem.outputs[l];
        multiply({task.weight(l), out, in, 1, out}, nullptr, from.at, to.at);
    }
    struct Matrix {
        const Real *at;
        Index depth, columns, row_step, column_step;
    };
    void multiply(const Matrix &matrix, const Real *bias, const Real *from, Real *to) const {
        Index lane = 0;
        for (; lane + 2 * width <= filled; lane += 2 * width)
            multiply_vectors<2>(matrix, bias, from + lane, to + lane);
        if (lane < filled) multiply_vectors<1>(matrix, bias, from + lane, to + lane);
    }
    template <int VECTORS>
    static void multiply_vectors(const Matrix &m, const Real *bias, const Real *from, Real *to) {
        for_blocks<REGISTERS / 4>(m.columns, [=](Index column, auto count) INLINE_LAMBDA {
            multiply_columns<VECTORS, decltype(count)::value>(
                m.depth, m.at + column * m.column_step, m.row_step, m.column_step,
                bias ? bias + column : nullptr, from, to + column * LANES);
        });
    }
    // Calls f(first, count) for parts of at most LARGEST, all about as large; the compiler knows the
    // count, too.
    template <int LARGEST, typename F>
    static INLINE void for_blocks(Index total, F f) {
        const Index blocks = (total + LARGEST - 1) / LARGEST;
        for (Index block = 0; block < blocks; ++block) {
            const Index first = block * total / blocks;
            call_with<LARGEST>((block + 1) * total / blocks - first, first, f);
        }
    }
    template <int COUNT, typename F>
    static INLINE void call_with(Index count, Index first, F f) {
        if (count == COUNT)
            f(first, std::integral_constant<int, COUNT>());
        else if constexpr (COUNT > 1)
            call_with<COUNT - 1>(count, first, f);
    }
    template <int VECTORS, int COLUMNS>
    static INLINE void multiply_columns(Index depth, const Real *weight, Index row_step,
                                        Index column_step, const Real *bias, const Real *from,
                                        Real *to) {
        Vec<Real> sum[COLUMNS][VECTORS] = {};
        if (bias) {
            UNROLL
            for (int c = 0; c < COLUMNS; ++c) {
                UNROLL
                for (int v = 0; v < VECTORS; ++v) sum[c][v] = splat(bias[c]);
            }
        }
        for (Index k = 0; k < depth; ++k) {
            UNROLL
            for (int c = 0; c < COLUMNS; ++c) {
                const Vec<Real> element = splat(weight[k * row_step + c * column_step]);
                UNROLL
                for (int v = 0; v < VECTORS; ++v)
                    sum[c][v] += element * load(from + k * LANES + v * width);
            }
        }
        UNROLL
        for (int c = 0; c < COLUMNS; ++c) {
            UNROLL
            for (int v = 0; v < VECTORS; ++v) store(to + c * LANES + v * width, sum[c][v]);
        }
    }

    void end_forward_step() const {
        write(state(0).at, problem.hidden, task.rows(problem.states, problem.hidden, now));
        for (Index c = 0; c < problem.components; ++c)
            for (Index i = task.running(now + 1); i < sequences; ++i) {
                Real *to = task.sequence(problem.final[c], i);
                for (Index j = 0; j < problem.hidden; ++j) to[j] = state(c)(j)[i];
            }
    }
    void end_forward() const { clear_padding(problem.states, problem.hidden); }
    void clear_padding(void *tensor, Index units) const {
        if (task.block || !tensor) return;
        Real *start = real<Real>(tensor, task.replica * problem.rows * units);
        for (Real *at = start + task.real_rows() * units; at < start + problem.rows * units; ++at)
            *at = 0;
    }

    // Sequences whose last step this is bring the gradient of their final state.
    void start_sequences(Index c, View<Real> grad) const {
        if (!problem.grad_final[c]) return;
        for (Index i = task.running(now + 1); i < sequences; ++i) {
            const Real *from = task.sequence(problem.grad_final[c], i);
            for (Index j = 0; j < problem.hidden; ++j) grad(j)[i] = from[j];
        }
    }
    // Notes a step's share of the gradients of a weight and a bias.
    void accumulate(Index l, View<Real> inputs, View<Real> outputs) const {
        shares[l * STEPS + step] = {inputs.at, outputs.at, filled};
    }
    // Adds those of the last few steps to the sums, each lane to its own.
    void add_shares() {
        for (Index l = 0; l < problem.products; ++l) {
            if (looks_up(l)) continue;
            const Share *steps = shares + l * STEPS;
            const Index in = problem.inputs[l], out = problem.outputs[l];
            for_blocks<SIDE>(in, [&](Index row, auto rows) INLINE_LAMBDA {
                for_blocks<SIDE>(out, [&](Index column, auto columns) INLINE_LAMBDA {
                    add_products<decltype(rows)::value, decltype(columns)::value>(
                        steps, row, column, weight_sums[l] + (row * out + column) * width, out * width);
                });
            });
            for (Index p = 0; p < out && problem.grad_biases[l]; ++p) add_outputs(steps, l, p);
        }
        step = 0;
        upper.next(0, sums);
    }
    template <int ROWS, int COLUMNS>
    INLINE void add_products(const Share *steps, Index row, Index column, Real *to, Index line) const {
        Vec<Real> sum[ROWS][COLUMNS];
        UNROLL
        for (int r = 0; r < ROWS; ++r) {
            UNROLL
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = load(to + r * line + c * width);
        }
        for (const Share *share = steps; share < steps + step; ++share) {
            const Real *inputs = share->inputs + row * LANES, *outputs = share->outputs + column * LANES;
            for (Index lane = 0; lane < share->filled; lane += width) {
                Vec<Real> output[COLUMNS];
                UNROLL
                for (int c = 0; c < COLUMNS; ++c) output[c] = load(outputs + c * LANES + lane);
                UNROLL
                for (int r = 0; r < ROWS; ++r) {
                    const Vec<Real> input = load(inputs + r * LANES + lane);
                    UNROLL
                    for (int c = 0; c < COLUMNS; ++c) sum[r][c] += input * output[c];
                }
            }
        }
        UNROLL
        for (int r = 0; r < ROWS; ++r) {
            UNROLL
            for (int c = 0; c < COLUMNS; ++c) store(to + r * line + c * width, sum[r][c]);
        }
    }
    void add_outputs(const Share *steps, Index l, Index p) const {
        Vec<Real> sum = load(bias_sums[l] + p * width);
        for (const Share *share = steps; share < steps + step; ++share)
            for (Index lane = 0; lane < share->filled; lane += width)
                sum += load(share->outputs + p * LANES + lane);
        store(bias_sums[l] + p * width, sum);
    }
    void end_backward(Index c, View<Real> grad) {
        for (Index i = 0; i < task.count; ++i) {
            Real *to = task.sequence(problem.grad_initial[c], i);
            for (Index j = 0; j < problem.hidden; ++j) to[j] = grad(j)[i];
        }
        if (c) return;
        add_shares();
        upper.finish(0, sums);
        clear_padding(problem.grad_x, x_units());
        const Index block = task.replica * problem.blocks + task.block;
        for (Index l = 0; l < problem.products; ++l) {
            const Index out = problem.outputs[l];
            Real *weight = real<Real>(problem.grad_weights[l], block * size(l));
            Real *bias = real<Real>(problem.grad_biases[l], block * out);
            if (looks_up(l)) {
                memcpy(weight, table_sums, size(l) * sizeof(Real));
                memset(bias, 0, out * sizeof(Real));
                for (Index at = 0; at < size(l); ++at) bias[at % out] += table_sums[at];
                continue;
            }
            add_lanes(weight_sums[l], size(l), weight);
            if (bias) add_lanes(bias_sums[l], out, bias);
        }
    }
    static void add_lanes(const Real *sums, Index count, Real *to) {
        for (Index at = 0; at < count; ++at) {
            Real total = 0;
            for (Index i = 0; i < width; ++i) total += sums[at * width + i];
            to[at] = total;
        }
    }
};

}  // namespace
