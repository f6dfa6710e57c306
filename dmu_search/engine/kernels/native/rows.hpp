// Layout Rows: a line is a sequence, its units side by side. For all but tiny networks.
#pragma once

#include <vector>

#include "product.hpp"
#include "task.hpp"

namespace {

template <typename Scalar>
struct Rows {
    using Real = Scalar;
    const Task<Real> &task;
    const Problem &problem;
    std::vector<Packed<Real>> packed;
    Real *initial[MAX_COMPONENTS];
    Real *scratch_inner, *scratch_gates;
    Index now = 0, sequences = 0;

    Rows(const Task<Real> &task, Arena &arena, bool backward) : task(task), problem(task.problem) {
        for (Index l = 0; l < problem.layers; ++l) {
            const Index in = problem.inputs[l], out = problem.outputs[l];
            const Index depth = backward ? out : in, columns = backward ? in : out;
            packed.push_back({arena.take<Real>(Packed<Real>::size(depth, columns)), depth, columns});
            if (arena.memory) packed[l].pack(task.weight(l), backward ? 1 : out, backward ? out : 1);
        }
        for (Index c = 0; c < problem.components; ++c) {
            initial[c] = arena.take<Real>(task.count * problem.hidden);
            for (Index i = 0; arena.memory && i < task.count; ++i)
                copy(task.sequence(problem.initial[c], i), initial[c] + i * problem.hidden);
        }
        scratch_inner = arena.take<Real>(problem.layers * buffer_size());
        scratch_gates = arena.take<Real>(task.count * problem.hidden * gates_kept(problem.cell));
    }

    void copy(const Real *from, Real *to) const { memcpy(to, from, problem.hidden * sizeof(Real)); }

    Index line() const { return round_up(task.widest(), WIDTH<Real>); }
    Index buffer_size() const { return task.count * line(); }
    Index lines(Index) const { return sequences; }
    Index length(Index units) const { return units; }
    void at(Index time) { now = time, sequences = task.running(time); }
    void start_step(Index time, bool) { at(time); }

    View<Real> scratch(Real *buffer, Index gate) const { return {buffer, line(), gate}; }
    View<Real> packed_rows(void *tensor, Index width, Index gate) const {
        return {task.rows(tensor, width, now), width, gate};
    }
    View<Real> x(Index gate) const { return packed_rows(problem.x, problem.outputs[0], gate); }
    View<Real> bias(Index l, Index gate) const { return {task.bias(l), 0, gate}; }
    View<Real> state(Index c) const { return packed_rows(problem.trace[c], problem.hidden, 0); }
    View<Real> state_before(Index c) const {
        Real *at = now ? task.rows(problem.trace[c], problem.hidden, now - 1) : initial[c];
        return {at, problem.hidden, 0};
    }
    View<Real> inner(Index l) const {
        const Index width = problem.inputs[l + 1];
        if (problem.inner[l]) return packed_rows(problem.inner[l], width, 0);
        return {scratch_inner + l * buffer_size(), width, 0};
    }
    View<Real> gates(Index l) const {
        const Index width = gates_kept(problem.cell) * problem.hidden;
        if (problem.gates[l]) return packed_rows(problem.gates[l], width, problem.hidden);
        return {scratch_gates, width, problem.hidden};
    }
    View<Real> grad_output(Index l, Index gate) const {
        return packed_rows(problem.grad_outputs[l], problem.outputs[l], gate);
    }
    View<Real> grad_recurrent() const {
        return packed_rows(problem.grad_recurrent, problem.outputs[0], problem.hidden);
    }
    View<Real> grad_state() const {
        if (!problem.grad_states) return {nullptr, 0, 0};
        return packed_rows(problem.grad_states, problem.hidden, 0);
    }

    bool recomputes() const { return false; }
    // to = from W_l; in the backward pass, to = from W_l'.
    void multiply_back(Index l, View<Real> from, View<Real> to) const { multiply(l, from, to); }
    void multiply(Index l, View<Real> from, View<Real> to) const {
        product<Real>(sequences, {from.at, from.line, 1, nullptr, 0, to.at, to.line}, packed[l]);
    }
    void end_forward_step() const {
        for (Index c = 0; c < problem.components; ++c)
            for (Index i = task.running(now + 1); i < sequences; ++i)
                copy(state(c)(i), task.sequence(problem.final[c], i));
    }
    // The products after the loop read padding too: whatever is not 0 there could be a nan.
    void end_forward() const {
        if (task.block) return;
        for (Index c = 0; c < problem.components; ++c) clear_padding(problem.trace[c], problem.hidden);
        for (Index l = 0; l + 1 < problem.layers; ++l)
            clear_padding(problem.inner[l], problem.inputs[l + 1]);
    }
    void clear_padding(void *tensor, Index width) const {
        if (!tensor) return;
        Real *start = real<Real>(tensor, task.replica * problem.rows * width);
        for (Real *at = start + task.real_rows() * width; at < start + problem.rows * width; ++at)
            *at = 0;
    }

    // Sequences whose last step this is bring the gradient of their final state.
    void start_sequences(Index c, View<Real> grad) const {
        if (!problem.grad_final[c]) return;
        for (Index i = task.running(now + 1); i < sequences; ++i)
            copy(task.sequence(problem.grad_final[c], i), grad(i));
    }
    // The gradient of weights is one product per layer after the loop, of all these rows.
    void accumulate(Index, View<Real>, View<Real>) const {}
    void end_backward_step() const {
        const View<Real> before = state_before(0);
        memcpy(task.rows(problem.previous, problem.hidden, now), before.at,
               sequences * problem.hidden * sizeof(Real));
    }
    void end_backward(Index c, View<Real> grad) const {
        for (Index i = 0; i < task.count; ++i) copy(grad(i), task.sequence(problem.grad_initial[c], i));
        if (task.block || c) return;
        clear_padding(problem.previous, problem.hidden);
        for (Index l = 0; l < problem.layers; ++l)
            clear_padding(problem.grad_outputs[l], problem.outputs[l]);
        clear_padding(problem.grad_recurrent, problem.outputs[0]);
    }
};

}  // namespace
