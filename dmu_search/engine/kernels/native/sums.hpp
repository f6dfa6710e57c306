// Sums of more terms than single precision bears.
#pragma once

#include <vector>

#include "simd.hpp"

namespace {

template <typename Real>
INLINE void add_to(Real *__restrict to, const Real *__restrict from, Index count) {
    for (Index i = 0; i < count; ++i) to[i] += from[i];
}

// What a long sum has besides its running sum. A running sum is rounded at every term, so its error
// grows with their number: a float sum of 100 000 has two digits less than one of 100. So after FAN
// terms it is added to a sum a level up and begins anew; after FAN of those that one is, too.
// A group is `size` sums side by side that get their terms together.
template <typename Real, Index FAN>
class UpperSums {
    static constexpr Index LEVELS = 2;
    Real *memory;  // (group, level, size); what holds nothing yet is not initialised
    Index size;
    std::vector<Index> left, moves;  // terms up to the next move, and moves so far

    Real *level(Index group, Index number) const { return memory + (group * LEVELS + number) * size; }
    void put(const Real *from, Real *to, bool first) const {
        if (first)
            memcpy(to, from, size * sizeof(Real));
        else
            add_to(to, from, size);
    }
    __attribute__((noinline)) void move_up(Index group, Real *running) {
        left[group] = FAN;
        const Index before = moves[group]++;
        put(running, level(group, 0), before % FAN == 0);
        memset(running, 0, size * sizeof(Real));
        if (moves[group] % FAN == 0) put(level(group, 0), level(group, 1), before < FAN);
    }

   public:
    UpperSums(Real *memory, Index groups, Index size)
        : memory(memory), size(size), left(groups, FAN), moves(groups) {}

    static Index numbers(Index groups, Index size) { return LEVELS * groups * size; }

    // To be called after each term with the running sum.
    INLINE void next(Index group, Real *running) {
        if (!--left[group]) move_up(group, running);
    }
    // Adds all to the running sum, when there are no more terms.
    void finish(Index group, Real *running) const {
        if (moves[group] % FAN) add_to(running, level(group, 0), size);
        if (moves[group] >= FAN) add_to(running, level(group, 1), size);
    }
};

}  // namespace
