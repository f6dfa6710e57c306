// What happens inside a step, forwards and backwards, for either layout. The equations are those of
// the Python cells. d_a is the gradient of the loss with respect to a; `carry` is that of the state,
// handed from a step to the one before it.
#pragma once

#include <utility>

#include "task.hpp"

namespace {

// A buffer for what a product puts out, and two for each gradient of a component of the state: what
// is read and what is written must differ.
template <class Layout>
struct Buffers {
    using Real = typename Layout::Real;
    Real *dense, *carry[MAX_COMPONENTS], *next[MAX_COMPONENTS];

    Buffers(const Layout &layout, Arena &arena) {
        dense = arena.take<Real>(layout.buffer_size());
        for (Index c = 0; c < MAX_COMPONENTS; ++c)
            for (Real **buffer : {&carry[c], &next[c]})
                *buffer = arena.take<Real>(layout.buffer_size());
    }
};

// Calls f(extent, line, offset) for all vectors of so many units of the running sequences.
template <class Layout, typename F>
INLINE void for_units(const Layout &layout, Index units, F f) {
    for_vectors<typename Layout::Real>(layout.lines(units), layout.length(units), f);
}

// What a product's output is to be added to: the input's share, or a bias.
template <class Layout>
View<typename Layout::Real> addend(const Layout &layout, Index l, Index gate) {
    return l ? layout.bias(l, gate) : layout.x(gate);
}

// What product l reads.
template <class Layout>
View<typename Layout::Real> operand(const Layout &layout, Index l) {
    return l ? layout.inner(l - 1) : layout.state_before(0);
}

// to = a + b.
template <class Layout>
void add(const Layout &layout, Index units, View<typename Layout::Real> a,
         View<typename Layout::Real> b, View<typename Layout::Real> to) {
    for_units(layout, units, [&](auto e, Index line, Index at) INLINE_LAMBDA {
        e.put(to(line) + at, e.get(a(line) + at) + e.get(b(line) + at));
    });
}

// u_1 = leaky(x + h W_1), u_l = leaky(b_l + u_(l-1) W_l), (z, p) = the last product without leaky,
// keep = sigmoid(z), content = tanh(p), h' = content + keep (h - content).
template <class Layout>
struct Dmu {
    using Real = typename Layout::Real;

    static void forward(const Layout &layout, const Buffers<Layout> &buffers) {
        const Problem &problem = layout.problem;
        const Index hidden = problem.hidden, last = problem.layers - 1;
        for (Index l = 0; l < last; ++l) {
            const auto dense = layout.scratch(buffers.dense, 0), plus = addend(layout, l, 0);
            const auto to = layout.inner(l);
            layout.multiply(l, operand(layout, l), dense);
            for_units(layout, problem.outputs[l], [&](auto e, Index line, Index at) INLINE_LAMBDA {
                const auto u = e.get(dense(line) + at) + e.get(plus(line) + at);
                e.put(to(line) + at, leaky<Real>(u));
            });
        }
        const auto dense = layout.scratch(buffers.dense, hidden), plus = addend(layout, last, hidden);
        const auto before = layout.state_before(0), after = layout.state(0);
        const auto gates = layout.gates(last);
        layout.multiply(last, operand(layout, last), dense);
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            const auto keep =
                sigmoid<Real>(e.get(dense(line) + at) + e.get(plus(line) + at));
            const auto content =
                hyperbolic_tangent<Real>(e.get(dense(line, 1) + at) + e.get(plus(line, 1) + at));
            const auto h = e.get(before(line) + at);
            e.put(after(line) + at, content + keep * (h - content));
            e.put(gates(line, 0) + at, keep);
            e.put(gates(line, 1) + at, content);
        });
    }

    static void backward(const Layout &layout, Buffers<Layout> &buffers) {
        const Problem &problem = layout.problem;
        const Index hidden = problem.hidden, last = problem.layers - 1;
        const auto carry = layout.scratch(buffers.carry[0], 0), next = layout.scratch(buffers.next[0], 0);
        const auto gates = layout.gates(last), before = layout.state_before(0);
        const auto output = layout.grad_output(last, hidden), from_state = layout.grad_state();
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            auto d_h = e.get(carry(line) + at);
            if (from_state.at) d_h += e.get(from_state(line) + at);
            const auto keep = e.get(gates(line, 0) + at), content = e.get(gates(line, 1) + at);
            const auto h = e.get(before(line) + at);
            e.put(next(line) + at, d_h * keep);
            e.put(output(line, 0) + at, d_h * (h - content) * (keep * (Real(1) - keep)));
            e.put(output(line, 1) + at, d_h * (Real(1) - keep) * (Real(1) - content * content));
        });
        const auto dense = layout.scratch(buffers.dense, 0);
        for (Index l = last; l > 0; --l) {
            const auto read = operand(layout, l), grad = layout.grad_output(l, 0);
            layout.accumulate(l, read, grad);
            layout.multiply_back(l, grad, dense);
            const auto below = layout.grad_output(l - 1, 0);
            for_units(layout, problem.inputs[l], [&](auto e, Index line, Index at) INLINE_LAMBDA {
                const auto d_u = e.get(dense(line) + at), u = e.get(read(line) + at);
                e.put(below(line) + at, u > Real(0) ? d_u : d_u * Real(LEAKY_SLOPE));
            });
        }
        layout.accumulate(0, before, layout.grad_output(0, 0));
        layout.multiply_back(0, layout.grad_output(0, 0), dense);
        add(layout, hidden, next, dense, carry);
    }
};

// (a, b) = x + s_0 W_1, later b_l + s_(l-1) W_l; h = tanh(a), t = sigmoid(b),
// s_l = s_(l-1) + t (h - s_(l-1)).
template <class Layout>
struct Rhn {
    using Real = typename Layout::Real;

    static void forward(const Layout &layout, const Buffers<Layout> &buffers) {
        const Problem &problem = layout.problem;
        const Index hidden = problem.hidden;
        for (Index l = 0; l < problem.layers; ++l) {
            const auto dense = layout.scratch(buffers.dense, hidden), plus = addend(layout, l, hidden);
            const auto before = operand(layout, l), gates = layout.gates(l);
            const auto after = l + 1 < problem.layers ? layout.inner(l) : layout.state(0);
            layout.multiply(l, before, dense);
            for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
                const auto h =
                    hyperbolic_tangent<Real>(e.get(dense(line) + at) + e.get(plus(line) + at));
                const auto t =
                    sigmoid<Real>(e.get(dense(line, 1) + at) + e.get(plus(line, 1) + at));
                const auto s = e.get(before(line) + at);
                e.put(after(line) + at, s + t * (h - s));
                e.put(gates(line, 0) + at, h);
                e.put(gates(line, 1) + at, t);
            });
        }
    }

    static void backward(const Layout &layout, Buffers<Layout> &buffers) {
        const Problem &problem = layout.problem;
        const Index hidden = problem.hidden;
        const auto carry = layout.scratch(buffers.carry[0], 0), next = layout.scratch(buffers.next[0], 0);
        const auto dense = layout.scratch(buffers.dense, 0);
        auto from_state = layout.grad_state();
        for (Index l = problem.layers - 1; l >= 0; --l) {
            const auto gates = layout.gates(l), before = operand(layout, l);
            const auto output = layout.grad_output(l, hidden);
            for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
                auto d_s = e.get(carry(line) + at);
                if (from_state.at) d_s += e.get(from_state(line) + at);
                const auto h = e.get(gates(line, 0) + at), t = e.get(gates(line, 1) + at);
                const auto s = e.get(before(line) + at);
                e.put(next(line) + at, d_s * (Real(1) - t));
                e.put(output(line, 0) + at, d_s * t * (Real(1) - h * h));
                e.put(output(line, 1) + at, d_s * (h - s) * (t * (Real(1) - t)));
            });
            from_state.at = nullptr;  // of the last layer only
            layout.accumulate(l, before, output);
            layout.multiply_back(l, output, dense);
            add(layout, hidden, next, dense, carry);
        }
    }
};

// (i, f, o) = sigmoids and g = tanh of x + h W; c' = f c + i g, h' = o tanh(c').
template <class Layout>
struct Lstm {
    using Real = typename Layout::Real;

    static void forward(const Layout &layout, const Buffers<Layout> &buffers) {
        const Index hidden = layout.problem.hidden;
        const auto dense = layout.scratch(buffers.dense, hidden), x = layout.x(hidden);
        const auto before = layout.state_before(1), gates = layout.gates(0);
        const auto h = layout.state(0), c = layout.state(1);
        layout.multiply(0, layout.state_before(0), dense);
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            const auto sum = [&](Index gate) INLINE_LAMBDA {
                return e.get(dense(line, gate) + at) + e.get(x(line, gate) + at);
            };
            const auto i = sigmoid<Real>(sum(0)), f = sigmoid<Real>(sum(1)), o = sigmoid<Real>(sum(2));
            const auto g = hyperbolic_tangent<Real>(sum(3));
            const auto memory = f * e.get(before(line) + at) + i * g;
            const auto shown = hyperbolic_tangent<Real>(memory);
            e.put(c(line) + at, memory);
            e.put(h(line) + at, o * shown);
            e.put(gates(line, 0) + at, i);
            e.put(gates(line, 1) + at, f);
            e.put(gates(line, 2) + at, o);
            e.put(gates(line, 3) + at, g);
            e.put(gates(line, 4) + at, shown);
        });
    }

    static void backward(const Layout &layout, Buffers<Layout> &buffers) {
        const Index hidden = layout.problem.hidden;
        const auto carry_h = layout.scratch(buffers.carry[0], 0), carry_c = layout.scratch(buffers.carry[1], 0);
        const auto next_c = layout.scratch(buffers.next[1], 0);
        const auto gates = layout.gates(0), before = layout.state_before(1);
        const auto output = layout.grad_output(0, hidden), from_state = layout.grad_state();
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            auto d_h = e.get(carry_h(line) + at);
            if (from_state.at) d_h += e.get(from_state(line) + at);
            const auto i = e.get(gates(line, 0) + at), f = e.get(gates(line, 1) + at);
            const auto o = e.get(gates(line, 2) + at), g = e.get(gates(line, 3) + at);
            const auto shown = e.get(gates(line, 4) + at), c = e.get(before(line) + at);
            const auto d_c = e.get(carry_c(line) + at) + d_h * o * (Real(1) - shown * shown);
            e.put(next_c(line) + at, d_c * f);
            e.put(output(line, 0) + at, d_c * g * (i * (Real(1) - i)));
            e.put(output(line, 1) + at, d_c * c * (f * (Real(1) - f)));
            e.put(output(line, 2) + at, d_h * shown * (o * (Real(1) - o)));
            e.put(output(line, 3) + at, d_c * i * (Real(1) - g * g));
        });
        std::swap(buffers.carry[1], buffers.next[1]);
        layout.accumulate(0, layout.state_before(0), output);
        layout.multiply_back(0, output, carry_h);
    }
};

// (r, z) = sigmoids of x + q, n = tanh(x + r q) with q = b + h R; h' = n + z (h - n).
template <class Layout>
struct Gru {
    using Real = typename Layout::Real;

    static void forward(const Layout &layout, const Buffers<Layout> &buffers) {
        const Index hidden = layout.problem.hidden;
        const auto dense = layout.scratch(buffers.dense, hidden), x = layout.x(hidden);
        const auto bias = layout.bias(0, hidden), gates = layout.gates(0);
        const auto before = layout.state_before(0), after = layout.state(0);
        layout.multiply(0, before, dense);
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            const auto q = [&](Index gate) INLINE_LAMBDA {
                return e.get(dense(line, gate) + at) + e.get(bias(line, gate) + at);
            };
            const auto r = sigmoid<Real>(e.get(x(line, 0) + at) + q(0));
            const auto z = sigmoid<Real>(e.get(x(line, 1) + at) + q(1));
            const auto q_n = q(2);
            const auto n = hyperbolic_tangent<Real>(e.get(x(line, 2) + at) + r * q_n);
            const auto h = e.get(before(line) + at);
            e.put(after(line) + at, n + z * (h - n));
            e.put(gates(line, 0) + at, r);
            e.put(gates(line, 1) + at, z);
            e.put(gates(line, 2) + at, n);
            e.put(gates(line, 3) + at, q_n);
        });
    }

    static void backward(const Layout &layout, Buffers<Layout> &buffers) {
        const Index hidden = layout.problem.hidden;
        const auto carry = layout.scratch(buffers.carry[0], 0), next = layout.scratch(buffers.next[0], 0);
        const auto dense = layout.scratch(buffers.dense, 0);
        const auto gates = layout.gates(0), before = layout.state_before(0);
        const auto d_x = layout.grad_output(0, hidden), d_q = layout.grad_recurrent();
        const auto from_state = layout.grad_state();
        for_units(layout, hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            auto d_h = e.get(carry(line) + at);
            if (from_state.at) d_h += e.get(from_state(line) + at);
            const auto r = e.get(gates(line, 0) + at), z = e.get(gates(line, 1) + at);
            const auto n = e.get(gates(line, 2) + at), q_n = e.get(gates(line, 3) + at);
            const auto h = e.get(before(line) + at);
            const auto d_n = d_h * (Real(1) - z) * (Real(1) - n * n);
            const auto d_r = d_n * q_n * (r * (Real(1) - r));
            const auto d_z = d_h * (h - n) * (z * (Real(1) - z));
            e.put(next(line) + at, d_h * z);
            e.put(d_x(line, 0) + at, d_r);
            e.put(d_x(line, 1) + at, d_z);
            e.put(d_x(line, 2) + at, d_n);
            e.put(d_q(line, 0) + at, d_r);
            e.put(d_q(line, 1) + at, d_z);
            e.put(d_q(line, 2) + at, d_n * r);
        });
        layout.accumulate(0, before, d_q);
        layout.multiply_back(0, d_q, dense);
        add(layout, hidden, next, dense, carry);
    }
};

// h' = tanh(x + h W).
template <class Layout>
struct Rnn {
    using Real = typename Layout::Real;

    static void forward(const Layout &layout, const Buffers<Layout> &buffers) {
        const auto dense = layout.scratch(buffers.dense, 0), x = layout.x(0);
        const auto after = layout.state(0);
        layout.multiply(0, layout.state_before(0), dense);
        for_units(layout, layout.problem.hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            const auto sum = e.get(dense(line) + at) + e.get(x(line) + at);
            e.put(after(line) + at, hyperbolic_tangent<Real>(sum));
        });
    }

    static void backward(const Layout &layout, Buffers<Layout> &buffers) {
        const auto carry = layout.scratch(buffers.carry[0], 0);
        const auto state = layout.state(0), from_state = layout.grad_state();
        const auto output = layout.grad_output(0, 0);
        for_units(layout, layout.problem.hidden, [&](auto e, Index line, Index at) INLINE_LAMBDA {
            auto d_h = e.get(carry(line) + at);
            if (from_state.at) d_h += e.get(from_state(line) + at);
            const auto h = e.get(state(line) + at);
            e.put(output(line) + at, d_h * (Real(1) - h * h));
        });
        layout.accumulate(0, layout.state_before(0), output);
        layout.multiply_back(0, output, carry);
    }
};

}  // namespace
