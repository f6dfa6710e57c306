"""What the synthetic tasks share: sequences made as they are needed, judged at their last step."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels.rows import full_rows, sent, take_rows
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Network, build_network
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import BatchLoss, TaskData
from dmu_search.errors import ConfigError
from dmu_search.names import Direction

NOISES = ("fresh", "fixed")
# Shorter sequences have no room for the marked steps of Adding.
SHORTEST = 12
# The fixed sets are the same in every run. No sensible `training.seed` reaches these seeds, which
# stay below 2**32, all that torch's CPU generator keeps of one.
FIXED_SEEDS = {"train": 4_000_000_001, "valid": 4_000_000_002, "test": 4_000_000_003}
# Rows, of all replicas together, that an evaluation holds in memory at a time. The networks are
# narrow, so a loop over time is fast only if each of its steps has some thousand rows.
EVALUATION_ROWS = 2**19


@dataclass(frozen=True)
class Rules:
    """The parameters of a synthetic task.

    Attributes:
        length: shortest length L, in steps; the release's rules at any L, see each task.
        batches_per_epoch: batches of fresh sequences in an epoch.
        noise: NoiseSeq only: ``fresh`` noise in every sequence (the release), or one sequence of
            it, ``fixed`` for all (the paper's text).
        train_sequences: of the fixed set that stands for the training data, whose sequences are
            seen once only.
        valid_sequences: of the fixed set that chooses the epoch.
        test_sequences: of the fixed set that nothing is chosen by.
    """

    length: int
    batches_per_epoch: int
    noise: str = "fresh"
    train_sequences: int = 1_000
    valid_sequences: int = 1_000
    test_sequences: int = 10_000

    def __post_init__(self) -> None:
        faults = []
        if self.length < SHORTEST:
            faults.append(f"data.length: must be >= {SHORTEST}, got {self.length}")
        if self.batches_per_epoch < 1:
            faults.append(f"data.batches_per_epoch: must be >= 1, got {self.batches_per_epoch}")
        if self.noise not in NOISES:
            faults.append(f"data.noise: must be one of {', '.join(NOISES)}, got {self.noise!r}")
        if faults:
            raise ConfigError(*faults)

    @property
    def tenth(self) -> int:
        """A tenth of L, rounded up as in the release: where lengths vary, they do by up to this."""
        return -(-self.length // 10)

    @property
    def longest(self) -> int:
        """Steps of the longest sequences, where lengths vary."""
        return self.length + self.tenth

    @property
    def fixed_sequences(self) -> dict[str, int]:
        """Sequences in the fixed set of each split."""
        return {split: getattr(self, f"{split}_sequences") for split in FIXED_SEEDS}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Each parameter."""
        return {name: np.array(value) for name, value in asdict(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Rules":
        """The inverse of ``to_arrays``."""
        return cls(**{name: value.item() for name, value in arrays.items()})


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences side by side, all as long as the longest may be.

    A sequence's own end is where its output is read. What follows it reaches neither outputs nor
    gradients, costs 5% of the steps, and spares the packing of every batch: lengths differ by a
    tenth at most, and a loop over many replicas hardly gets shorter by packing.

    Attributes:
        inputs: features, ``(replica, time, batch, feature)``, or symbols, from 0, for one-hot
            inputs, ``(replica, time, batch)``.
        lengths: own steps of each sequence, ``(replica, batch)``.
        targets: what to say at the last of them, ``(replica, batch)``.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor

    @property
    def bucket(self) -> tuple[torch.Size, ...]:
        """The shape, which all batches of a training share."""
        return tuple(tensor.shape for tensor in self.tensors)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that tells batches apart."""
        return self.inputs, self.lengths, self.targets

    @property
    def count(self) -> int:
        """Sequences of each replica."""
        return self.lengths.shape[1]

    def split(self, size: int) -> Iterator["Sequences"]:
        """Parts of at most so many sequences."""
        parts = (
            torch.split(self.inputs, size, dim=2),
            torch.split(self.lengths, size, dim=1),
            torch.split(self.targets, size, dim=1),
        )
        return map(Sequences, *parts)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Sequences":
        """From the CPU to another device; features and real targets in another precision."""

        def moved(values: Tensor) -> Tensor:
            return sent(values.to(dtype) if values.is_floating_point() else values, device)

        return Sequences(moved(self.inputs), moved(self.lengths), moved(self.targets))


class GeneratedTask(ABC):
    """A task whose training sequences are all fresh, with one output at the end of each.

    Training sequences of a replica come from its own generator: one call draws the random numbers
    of a batch, and the rules then turn those of all replicas into sequences at once. Numbers are
    drawn in single precision whatever the task's, so that all precisions see the same sequences;
    its 24 bits make a choice among n unfair by less than ``n / 2**24``.

    The fixed sets are the same for all replicas and runs.

    Args:
        rules: the parameters.
        device: where to train.
        dtype: precision to train in.
    """

    objective: ClassVar[str]
    loss_name: ClassVar[str]
    data_type: ClassVar[type[TaskData]] = Rules
    direction: ClassVar[Direction]
    input_size: ClassVar[int]
    output_size: ClassVar[int]

    def __init__(
        self,
        rules: Rules,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.rules = rules
        self.device = torch.device(device)
        self.dtype = dtype
        self._fixed = {split: self._placed(self.fixed_set(split)) for split in FIXED_SEEDS}

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Random numbers that a sequence is made from."""

    @abstractmethod
    def sequences(self, draws: Tensor) -> Sequences:
        """Apply the rules.

        Args:
            draws: uniform in [0, 1), ``(replica, number, batch)``.
        """

    @staticmethod
    @abstractmethod
    def scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The task's metrics of each sequence, the training loss among them.

        Args:
            outputs: linear outputs at the last step, ``(replica, batch, output)``.
            targets: ``(replica, batch)``.

        Returns:
            ``(replica, batch)`` each.
        """

    @classmethod
    def network(cls, settings: NetworkSettings) -> Network:
        """The recurrent block and one dense layer; needs no data."""
        return build_network(settings, input_size=cls.input_size, readout=(cls.output_size,))

    def fixed_set(self, split: str) -> Sequences:
        """The fixed set of a split, for one replica, on the CPU."""
        generator = torch.Generator().manual_seed(FIXED_SEEDS[split])
        return self.sequences(self._draw([generator], self.rules.fixed_sequences[split]))

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[Sequences]:
        """An epoch's batches of fresh sequences, each replica's from its own generator."""
        for _ in range(self.rules.batches_per_epoch):
            yield self._placed(self.sequences(self._draw(generators, training.batch_size)))

    def bucketed_batches(
        self, generators: Sequence[torch.Generator], batch_size: int
    ) -> Iterator[Sequences]:
        """The same: all batches have one shape."""
        for _ in range(self.rules.batches_per_epoch):
            yield self._placed(self.sequences(self._draw(generators, batch_size)))

    def bucket_examples(self, replicas: int, batch_size: int) -> Iterator[Sequences]:
        """One batch, as they all have one shape."""
        yield self._placed(self.sequences(torch.zeros(replicas, self.numbers, batch_size)))

    def batches_per_epoch(self, batch_size: int) -> int:
        """As the rules say."""
        return self.rules.batches_per_epoch

    def loss(
        self,
        network: Network,
        weights: Mapping[str, Tensor],
        *,
        batch: Sequences,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Mean over the sequences of the batch."""
        outputs = self._outputs(network, weights, sequences=batch)
        mean = self.scores(outputs, batch.targets)[self.loss_name].mean(dim=1)
        return BatchLoss(mean=mean, terms=torch.full_like(mean, batch.count, requires_grad=False))

    def evaluate(
        self, network: Network, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Mean of each score over the fixed set of a split, ``(replica,)``, in double precision."""
        fixed = self._fixed[split]
        replicas = next(iter(weights.values())).shape[0]
        at_once = max(EVALUATION_ROWS // (replicas * fixed.inputs.shape[1]), 1)
        sums: dict[str, Tensor] = {}
        for part in fixed.split(at_once):
            scores = self.scores(
                self._outputs(network, weights, sequences=part), part.targets.expand(replicas, -1)
            )
            for name, values in scores.items():
                total = values.double().sum(dim=1)
                sums[name] = sums[name] + total if name in sums else total
        return {name: total / fixed.count for name, total in sums.items()}

    def _draw(self, generators: Sequence[torch.Generator], count: int) -> Tensor:
        """Uniform numbers for so many sequences of each replica, on the CPU."""
        draws = torch.empty(len(generators), self.numbers, count)
        for replica, generator in enumerate(generators):
            draws[replica].uniform_(generator=generator)
        return draws

    def _placed(self, sequences: Sequences) -> Sequences:
        return sequences.to(self.device, self.dtype)

    def _outputs(
        self, network: Network, weights: Mapping[str, Tensor], *, sequences: Sequences
    ) -> Tensor:
        """Outputs at each sequence's own last step, ``(replica, batch, output)``."""
        replicas = next(iter(weights.values())).shape[0]
        times, count = sequences.inputs.shape[1:3]
        inputs = sequences.inputs.flatten(1, 2)
        states, _ = network.recur(
            weights,
            inputs.expand(replicas, *inputs.shape[1:]),
            rows=full_rows(replicas, count, times=times, device=self.device),
        )
        last = (sequences.lengths - 1) * count + torch.arange(count, device=self.device)
        return network.read(weights, take_rows(states, last.expand(replicas, -1)))


def below(draws: Tensor, limit: Tensor | int) -> Tensor:
    """Uniform whole numbers in ``[0, limit)`` from uniform numbers in [0, 1).

    No product rounds up to ``limit``: a draw is at most ``1 - 2**-24``.
    """
    return (draws * limit).long()


def class_scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Cross-entropy and hit or miss of each sequence.

    Args:
        outputs: logits, ``(replica, batch, class)``.
        targets: classes, ``(replica, batch)``.

    Returns:
        ``nll_nats`` and ``accuracy``, ``(replica, batch)`` each.
    """
    nll = functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
    hits = outputs.detach().argmax(dim=2) == targets
    return {"nll_nats": nll, "accuracy": hits.to(nll.dtype)}
