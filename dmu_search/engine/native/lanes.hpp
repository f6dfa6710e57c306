// Layout Lanes: a line is a unit, its value in each of up to LANES sequences side by side. For tiny
// networks, whose few units would leave most of a vector empty.
#pragma once

#include <vector>

#include "task.hpp"

namespace {

template <typename Scalar>
struct Lanes {
    using Real = Scalar;
    static constexpr Index width = WIDTH<Real>;
    const Task<Real> &task;
    const Problem &problem;
    const bool backward;
    std::vector<Real *> biases, weight_sums, bias_sums;
    Real *initial[MAX_COMPONENTS], *states[MAX_COMPONENTS][2];
    Real *scratch_inner, *scratch_gates, *table;
    Real *x_lanes, *inputs_lanes, *grad_lanes, *outputs_lanes, *recurrent_lanes;
    Index now = 0, sequences = 0, filled = 0;

    Lanes(const Task<Real> &task, Arena &arena, bool backward)
        : task(task), problem(task.problem), backward(backward) {
        for (Index l = 0; l < problem.layers; ++l)
            biases.push_back(arena.take<Real>(problem.outputs[l] * LANES));
        for (Index l = 0; l < problem.products && backward; ++l) {
            weight_sums.push_back(arena.take<Real>(looks_up(l) ? 0 : size(l) * width));
            bias_sums.push_back(arena.take<Real>(problem.outputs[l] * width));
        }
        table = arena.take<Real>(problem.symbols ? size(problem.layers) : 0);
        for (Index c = 0; c < problem.components; ++c) {
            initial[c] = arena.take<Real>(problem.hidden * LANES);
            for (Real *&state : states[c]) state = arena.take<Real>(problem.hidden * LANES);
        }
        scratch_inner = arena.take<Real>(problem.layers * buffer_size());
        scratch_gates = arena.take<Real>(problem.hidden * LANES * gates_kept(problem.cell));
        for (Real **buffer :
             {&x_lanes, &inputs_lanes, &grad_lanes, &outputs_lanes, &recurrent_lanes})
            *buffer = arena.take<Real>(buffer_size());
        if (arena.memory) read_weights_and_states();
    }
    void read_weights_and_states() {
        for (Index at = 0; at < size(problem.layers) && problem.symbols && !backward; ++at)
            table[at] = task.weight(problem.layers)[at] + task.bias(problem.layers)[at % problem.outputs[0]];
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
    Index buffer_size() const { return task.widest() * LANES; }
    Index lines(Index units) const { return units; }
    Index length(Index) const { return filled; }

    // Lanes of a vector beyond the running sequences compute on with old, finite numbers. Nothing
    // reads them; their gradients are 0, so they add nothing to those of the weights.
    void start_step(Index time, bool backward) {
        now = time, sequences = task.running(time);
        filled = round_up(sequences, width);
        if (!backward)
            read_x();
        else if (problem.grad_states)
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
        for (Index l = 0; l < problem.layers; ++l) {
            prefetch_kept(problem.gates[l], gates_kept(problem.cell) * problem.hidden, time);
            if (l + 1 < problem.layers) prefetch_kept(problem.inner[l], problem.inputs[l + 1], time);
        }
        for (Index c = 0; c < problem.components; ++c)
            prefetch_kept(problem.trace[c], problem.hidden, time);
    }
    void prefetch_kept(void *tensor, Index units, Index time) const {
        prefetch(kept_or(tensor, units, time, nullptr, 0).at, units * LANES);
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
    // Brings into lanes what the first product's output is added to.
    void read_x() const {
        const Index input = problem.layers;
        if (!takes_inputs()) {
            read(x_rows(problem.x, now), x_units(), x_lanes);
        } else if (!problem.symbols) {
            read(x_rows(problem.x, now), x_units(), inputs_lanes);
            multiply(input, scratch(inputs_lanes, 0), scratch(x_lanes, 0), task.bias(input));
        } else {
            const int64_t *symbol = symbols(now);
            for_elements(problem.outputs[0], [=](Index i, Index j, Index units) INLINE_LAMBDA {
                x_lanes[j * LANES + i] = table[symbol[i] * units + j];
            });
        }
    }
    // Takes from lanes what the gradient of x and of the product of the inputs gets from this step.
    void end_backward_step() const {
        const Index input = problem.layers;
        const View<Real> outputs = scratch(outputs_lanes, 0), inputs = scratch(inputs_lanes, 0);
        if (!takes_inputs()) {
            write(outputs_lanes, x_units(), x_rows(problem.grad_x, now));
        } else if (!problem.symbols) {
            read(x_rows(problem.x, now), x_units(), inputs_lanes);
            accumulate(input, inputs, outputs);
            if (!problem.grad_x) return;
            multiply(input, outputs, inputs);
            write(inputs_lanes, x_units(), x_rows(problem.grad_x, now));
        } else {
            const int64_t *symbol = symbols(now);
            for_elements(problem.outputs[0], [=](Index i, Index j, Index units) INLINE_LAMBDA {
                table[symbol[i] * units + j] += outputs_lanes[j * LANES + i];
            });
        }
    }
    View<Real> scratch(Real *buffer, Index gate) const { return {buffer, LANES, gate * LANES}; }
    View<Real> kept_or(void *tensor, Index units, Index time, Real *scratch, Index gate) const {
        const Index block = task.replica * problem.blocks + task.block;
        Real *kept = real<Real>(tensor, (block * problem.times + time) * units * LANES);
        return {kept ? kept : scratch, LANES, gate * LANES};
    }
    View<Real> x(Index gate) const { return scratch(x_lanes, gate); }
    View<Real> bias(Index l, Index gate) const { return scratch(biases[l], gate); }
    View<Real> state_at(Index c, Index time) const {
        if (time < 0) return scratch(initial[c], 0);
        return kept_or(problem.trace[c], problem.hidden, time, states[c][time % 2], 0);
    }
    View<Real> state(Index c) const { return state_at(c, now); }
    View<Real> state_before(Index c) const { return state_at(c, now - 1); }
    View<Real> inner(Index l) const {
        Real *scratch = scratch_inner + l * buffer_size();
        return kept_or(problem.inner[l], problem.inputs[l + 1], now, scratch, 0);
    }
    View<Real> gates(Index l) const {
        const Index units = gates_kept(problem.cell) * problem.hidden;
        return kept_or(problem.gates[l], units, now, scratch_gates, problem.hidden);
    }
    View<Real> grad_output(Index, Index gate) const { return scratch(outputs_lanes, gate); }
    View<Real> grad_recurrent() const { return scratch(recurrent_lanes, problem.hidden); }
    View<Real> grad_state() const {
        return scratch(problem.grad_states ? grad_lanes : nullptr, 0);
    }

    // to = from W_l + bias, or plus 0 where that is null; in the backward pass, to = from W_l'.
    void multiply(Index l, View<Real> from, View<Real> to, const Real *bias = nullptr) const {
        Index lane = 0;
        for (; lane + 2 * width <= filled; lane += 2 * width)
            multiply_vectors<2>(l, bias, from.at + lane, to.at + lane);
        if (lane < filled) multiply_vectors<1>(l, bias, from.at + lane, to.at + lane);
    }
    template <int VECTORS>
    void multiply_vectors(Index l, const Real *bias, const Real *from, Real *to) const {
        const Index in = problem.inputs[l], out = problem.outputs[l];
        const Index depth = backward ? out : in, columns = backward ? in : out;
        const Index row_step = backward ? 1 : out, column_step = backward ? out : 1;
        const Real *weight = task.weight(l);
        Index column = 0;
        for (; column + 4 <= columns; column += 4)
            multiply_columns<VECTORS, 4>(depth, weight + column * column_step, row_step, column_step,
                                         bias ? bias + column : nullptr, from, to + column * LANES);
        for (; column < columns; ++column)
            multiply_columns<VECTORS, 1>(depth, weight + column * column_step, row_step, column_step,
                                         bias ? bias + column : nullptr, from, to + column * LANES);
    }
    template <int VECTORS, int COLUMNS>
    INLINE void multiply_columns(Index depth, const Real *weight, Index row_step, Index column_step,
                                 const Real *bias, const Real *from, Real *to) const {
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
    // Adds a step's share to the gradients of a weight and a bias, each lane to its own sum.
    void accumulate(Index l, View<Real> inputs, View<Real> outputs) const {
        for (Index lane = 0; lane < filled; lane += 2 * width)
            if (lane + width < filled)
                accumulate_vectors<2>(l, inputs.at + lane, outputs.at + lane);
            else
                accumulate_vectors<1>(l, inputs.at + lane, outputs.at + lane);
    }
    template <int VECTORS>
    void accumulate_vectors(Index l, const Real *inputs, const Real *outputs) const {
        const Index out = problem.outputs[l];
        Index p = 0;
        for (; p + 4 <= out; p += 4) accumulate_columns<VECTORS, 4>(l, p, inputs, outputs + p * LANES);
        for (; p < out; ++p) accumulate_columns<VECTORS, 1>(l, p, inputs, outputs + p * LANES);
    }
    template <int VECTORS, int COLUMNS>
    INLINE void accumulate_columns(Index l, Index p, const Real *inputs, const Real *outputs) const {
        Vec<Real> output[COLUMNS][VECTORS];
        UNROLL
        for (int c = 0; c < COLUMNS; ++c) {
            Vec<Real> sum = load(bias_sums[l] + (p + c) * width);
            UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                output[c][v] = load(outputs + c * LANES + v * width);
                sum += output[c][v];
            }
            store(bias_sums[l] + (p + c) * width, sum);
        }
        Real *sums = weight_sums[l] + p * width;
        for (Index h = 0; h < problem.inputs[l]; ++h, sums += problem.outputs[l] * width) {
            UNROLL
            for (int c = 0; c < COLUMNS; ++c) {
                Vec<Real> sum = load(sums + c * width);
                UNROLL
                for (int v = 0; v < VECTORS; ++v)
                    sum += load(inputs + h * LANES + v * width) * output[c][v];
                store(sums + c * width, sum);
            }
        }
    }
    void end_backward(Index c, View<Real> grad) const {
        for (Index i = 0; i < task.count; ++i) {
            Real *to = task.sequence(problem.grad_initial[c], i);
            for (Index j = 0; j < problem.hidden; ++j) to[j] = grad(j)[i];
        }
        if (c) return;
        clear_padding(problem.grad_x, x_units());
        const Index block = task.replica * problem.blocks + task.block;
        for (Index l = 0; l < problem.products; ++l) {
            const Index out = problem.outputs[l];
            Real *weight = real<Real>(problem.grad_weights[l], block * size(l));
            Real *bias = real<Real>(problem.grad_biases[l], block * out);
            if (looks_up(l)) {
                memcpy(weight, table, size(l) * sizeof(Real));
                memset(bias, 0, out * sizeof(Real));
                for (Index at = 0; at < size(l); ++at) bias[at % out] += table[at];
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
