"""Translation: say a sentence in another language, word by word."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.engine.kernels.rows import PackedRows, length_sorted_batches
from dmu_search.engine.kernels.words import softmax_nll, word_nll
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.translator import Translator, build_translator
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import BatchLoss, TaskData
from dmu_search.engine.tasks.sentences import END, SPLITS, START, Pairs, Sentences, SplitPairs
from dmu_search.names import TASKS, Direction

# Target words, of all replicas together, that an evaluation holds in memory at a time: 3 kB each,
# and some hundred sentences, so that the products of a step run at full speed.
EVALUATION_WORDS = 2**13


@dataclass(frozen=True, eq=False)
class FlatSentences:
    """Sentences of one language as tensors, for batches to be gathered from by index.

    Attributes:
        words: of all sentences, one after the other, ``(word,)``.
        starts: first word of each sentence, ``(sentence,)``.
        lengths: words of each, both markers included, ``(sentence,)``.
    """

    words: Tensor
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def from_sentences(cls, sentences: Sentences, device: torch.device) -> "FlatSentences":
        """Put sentences on a device."""
        return cls(
            words=torch.from_numpy(sentences.words).to(device),
            starts=sentences.starts,
            lengths=sentences.lengths,
        )


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Sentences to translate; either language has its rows sorted by its own lengths.

    Attributes:
        source_rows: packing of the source sentences.
        source: packed source words, ``(replica, row)``.
        rows: packing of the target words that are predicted.
        inputs: packed target words before those, from ``START`` on, ``(replica, row)``.
        targets: packed target words to predict, up to ``END``, shaped alike.
        forced: whether the decoder reads the right words, not its own: ``(replica, step)`` with as
            many steps as a batch can have, or ``(replica, 1)`` for all of them; on the CPU.
    """

    source_rows: PackedRows
    source: Tensor
    rows: PackedRows
    inputs: Tensor
    targets: Tensor
    forced: Tensor


class Translation:
    """Encoder and decoder over pairs of sentences; the decoder is judged by its own translation.

    Neumann et al., "Deep Memory Update", Section "Machine translation". The objective is the share
    of target words, ``END`` included, that are right at their place while the decoder reads what it
    has said itself.

    In training it reads the right words with the probability ``training.teacher_forcing_ratio``,
    else its own. Each replica draws once per batch, as in PyTorch's tutorial, or with
    ``training.teacher_forcing_draw=step`` at every time step, as the release does, whose ratio is
    that of its own words. For ratios of 0 and 1 both are the same.

    Args:
        pairs: the sentences.
        device: where to train.
        dtype: precision to train in.
    """

    objective: ClassVar[str] = "accuracy"
    direction: ClassVar[Direction] = TASKS["spa2eng"].direction
    loss_name: ClassVar[str] = "nll_nats"
    data_type: ClassVar[type[TaskData]] = SplitPairs

    def __init__(
        self,
        pairs: SplitPairs,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.vocabulary = pairs.vocabulary
        self._splits = {split: self._flat(getattr(pairs, split)) for split in SPLITS}

    def _flat(self, pairs: Pairs) -> tuple[FlatSentences, FlatSentences]:
        """Source and target of a split."""
        return (
            FlatSentences.from_sentences(pairs.source, self.device),
            FlatSentences.from_sentences(pairs.target, self.device),
        )

    @property
    def longest(self) -> int:
        """Words after which a translation is cut off: the most of a training target."""
        return int(self._splits["train"][1].lengths.max()) - 1

    def network(self, settings: NetworkSettings) -> Translator:
        """Encoder and decoder over the data's own vocabularies."""
        return build_translator(settings, self.vocabulary)

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[PairBatch]:
        """All training pairs once, each replica in its own order; the last batch may be smaller."""
        count = len(self._splits["train"][0].lengths)
        orders = torch.stack([torch.randperm(count, generator=each) for each in generators])
        batches = torch.split(orders, training.batch_size, dim=1)
        # Drawn whatever the ratio is, so that it changes no order of sentences.
        steps = self.longest if training.teacher_forcing_draw == "step" else 1
        draws = [torch.rand(len(batches), steps, generator=each) for each in generators]
        forced = torch.stack(draws) < training.teacher_forcing_ratio
        for number, pairs in enumerate(batches):
            yield self._batch("train", pairs.numpy(), forced=forced[:, number])

    def batches_per_epoch(self, batch_size: int) -> int:
        """Those of all training pairs."""
        return math.ceil(len(self._splits["train"][0].lengths) / batch_size)

    def loss(
        self,
        network: Translator,
        weights: Mapping[str, Tensor],
        *,
        batch: PairBatch,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Mean over the target words of the batch of their negative log-likelihood."""
        state = network.encode(weights, batch.source, rows=batch.source_rows)
        if batch.forced.all():
            hidden = network.decode(weights, batch.inputs, rows=batch.rows, initial_state=state)
        else:
            hidden, _ = speak(network, weights, batch=batch, state=state)
        terms = torch.from_numpy(batch.rows.row_counts).to(hidden)
        shares = batch.rows.valid / terms.unsqueeze(1)
        mean, _ = softmax_nll(
            hidden, *network.readout(weights), targets=batch.targets, shares=shares
        )
        return BatchLoss(mean=mean, terms=terms)

    def evaluate(
        self, network: Translator, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Accuracy of the decoder's own translation, and loss after the right words.

        Args:
            network: encoder and decoder.
            weights: of the network.
            split: ``train``, ``valid`` or ``test``.

        Returns:
            ``accuracy``, the share of target words said at their place, and ``nll_nats``, the mean
            over target words of the negative log-likelihood when all words before are right.
            ``(replica,)`` each, in double precision.
        """
        lengths = self._splits[split][1].lengths - 1
        replicas = next(iter(weights.values())).shape[0]
        hits = torch.zeros(replicas, dtype=torch.float64, device=self.device)
        nll = torch.zeros_like(hits)
        for index in length_sorted_batches(lengths, max(EVALUATION_WORDS // replicas, 1)):
            batch = self._same_batch(split, index, replicas=replicas)
            state = network.encode(weights, batch.source, rows=batch.source_rows)
            _, said = speak(network, weights, batch=batch, state=state)
            hits += ((said == batch.targets) & batch.rows.valid).sum(dim=1)
            hidden = network.decode(weights, batch.inputs, rows=batch.rows, initial_state=state)
            own = word_nll(hidden, *network.readout(weights), targets=batch.targets)
            nll += own.where(batch.rows.valid, 0.0).double().sum(dim=1)
        words = int(lengths.sum())
        return {"accuracy": hits / words, "nll_nats": nll / words}

    @torch.inference_mode()
    def translate(
        self, network: Translator, weights: Mapping[str, Tensor], *, split: str
    ) -> NDArray[np.int64]:
        """Greedy translations: the likeliest word at each step, up to ``END`` or ``longest`` words.

        Args:
            network: encoder and decoder.
            weights: of the network.
            split: ``train``, ``valid`` or ``test``.

        Returns:
            Numbers of words, ``END`` from the end on, ``(replica, sentence, word)`` in the order of
            the split.
        """
        lengths = self._splits[split][0].lengths
        replicas = next(iter(weights.values())).shape[0]
        said = np.full((replicas, len(lengths), self.longest), END)
        for index in length_sorted_batches(lengths, max(EVALUATION_WORDS // replicas, 1)):
            batch = self._same_batch(split, index, replicas=replicas)
            state = network.encode(weights, batch.source, rows=batch.source_rows)
            for step, words in enumerate(self._until_end(network, weights, state=state)):
                said[:, index, step] = words.cpu().numpy()
        return said

    def _until_end(
        self, network: Translator, weights: Mapping[str, Tensor], *, state: tuple[State, ...]
    ) -> Iterator[Tensor]:
        """The words said at each step, ``(replica, batch)``, until all sentences have ended."""
        words = torch.full(state[0][0].shape[:2], START, device=self.device)
        ended = torch.zeros_like(words, dtype=torch.bool)
        for _ in range(self.longest):
            state = network.step(weights, words, state)
            words = network.likeliest(weights, state[-1][0]).where(~ended, END)
            ended |= words == END
            if ended.all():
                return
            yield words

    def _same_batch(self, split: str, index: NDArray[np.int64], *, replicas: int) -> PairBatch:
        """The same pairs for all replicas, whose decoders read their own words."""
        pairs = np.tile(index, (replicas, 1))
        return self._batch(split, pairs, forced=torch.zeros(replicas, 1, dtype=torch.bool))

    def _batch(self, split: str, pairs: NDArray[np.int64], *, forced: Tensor) -> PairBatch:
        """Gather pairs, ``(replica, batch)``, by index."""
        source, target = self._splits[split]
        source_rows = PackedRows(source.lengths[pairs], self.device)
        rows = PackedRows(target.lengths[pairs] - 1, self.device)
        index = rows.gather_index(target.starts[pairs])
        return PairBatch(
            source_rows=source_rows,
            source=source.words[source_rows.gather_index(source.starts[pairs])].long(),
            rows=rows,
            inputs=target.words[index].long(),
            targets=target.words[index + 1].long(),
            forced=forced,
        )


def speak(
    network: Translator,
    weights: Mapping[str, Tensor],
    *,
    batch: PairBatch,
    state: tuple[State, ...],
) -> tuple[Tensor, Tensor]:
    """Decode step by step, as many as there are target words, each reading what the last one said.

    Where they are ``batch.forced``, replicas read the right words, as in ``Translator.decode``.

    Args:
        network: encoder and decoder.
        weights: of the network.
        batch: the pairs.
        state: of the encoder.

    Returns:
        What the readout reads at each step, ``(replica, row, hidden)``, and the word it says,
        without gradients, ``(replica, row)``.
    """
    rows = batch.rows
    forced = batch.forced.to(batch.inputs.device)
    if forced.shape[1] == 1:
        forced = forced.expand(-1, len(rows.step_sizes))
    state = tuple(tuple(rows.sort(part) for part in cell) for cell in state)
    hidden: list[Tensor] = []
    said: list[Tensor] = []
    # As in `scan`: what steps on in one replica because another's sentences are longer is dropped.
    steps = torch.split(rows.to_steps(batch.inputs), rows.step_sizes, dim=1)
    for number, right in enumerate(steps):
        running = right.shape[1]
        own = said[-1][:, :running] if said else right
        words = right.where(forced[:, number : number + 1], own)
        state = tuple(tuple(part[:, :running] for part in cell) for cell in state)
        state = network.step(weights, words, state)
        hidden.append(state[-1][0])
        said.append(network.likeliest(weights, hidden[-1]))
    return rows.from_steps(torch.cat(hidden, dim=1)), rows.from_steps(torch.cat(said, dim=1))


TASK = Translation
