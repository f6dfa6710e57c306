"""A problem of a few numbers, searched in no time."""

import math
from types import MappingProxyType

from simulation.problems import Training

from dmu_search.config.distributions import Choice, Interval


class Toy:
    """Loss falls with the epochs towards what the setting is worth; some settings diverge."""

    name = "toy"
    space = MappingProxyType({"x": Interval(1e-4, 1.0, log=True), "kind": Choice(("a", "b"))})
    max_epochs = 9
    scale = "linear"

    def begin(self):
        return self

    def train(self, values):
        worth = abs(math.log10(values["x"]) + 2) + (values["kind"] == "b")
        losses = [worth + 2 / epoch for epoch in range(1, self.max_epochs + 1)]
        if values["x"] > 0.5:
            losses[3:] = [math.nan] * 6
        return Training(tuple(losses), 1.0 + values["x"])

    def prior(self, quality):
        return {"x": 0.01, "kind": "a"}

    def best_known(self):
        return 2 / 9
