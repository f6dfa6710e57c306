"""NatLang: predict the next word of a text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.engine.kernels.rows import PackedRows, full_rows
from dmu_search.engine.kernels.words import softmax_nll, word_nll
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Network, build_network
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import BatchLoss, TaskData
from dmu_search.errors import ConfigError, DataError
from dmu_search.names import TASKS, Direction

SPLITS = ("train", "valid", "test")
EMBEDDING_SIZE = 64
DENSE_SIZE = 100
# Words of each stream that one step of training sees; the state goes on, its gradient does not.
CHUNK_WORDS = 100
# The release evaluates in so many parallel streams, whatever the training's.
EVALUATION_STREAMS = 32


@dataclass(frozen=True, eq=False)
class Text:
    """Words as numbers from 0, in reading order: ``(word,)`` each.

    Attributes:
        train: text to train on.
        valid: text that chooses the epoch.
        test: text that nothing is chosen by.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The splits."""
        return {split: getattr(self, split) for split in SPLITS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Text":
        """The inverse of ``to_arrays``."""
        return cls(**arrays)


@dataclass(frozen=True, eq=False)
class WordBatch:
    """The next words of all streams.

    Attributes:
        rows: the packing; a sequence is a stream's chunk.
        inputs: packed words, ``(replica, row)``.
        targets: the word after each of them, shaped alike.
    """

    rows: PackedRows
    inputs: Tensor
    targets: Tensor


class NatLang:
    """Next-word prediction over parallel streams of a text, judged by perplexity.

    Neumann et al., "Deep Memory Update", after Zaremba et al., arXiv:1409.2329. A split is cut into
    ``training.batch_size`` streams (32 in evaluation) of equal length, which are read side by side,
    all from a state of zeros; words at the end that do not fill all streams are left out. Each word
    is predicted but the very first: the one after a stream is the next one's first. Training goes
    through the streams in chunks of 100 words, the last one maybe shorter, each from the state that
    the one before ended in. Nothing is shuffled, so all replicas read the same.

    Args:
        text: the words; each must be in the vocabulary.
        device: where to train.
        dtype: precision to train in.

    Raises:
        DataError: if a split has no word to predict, or one that is not in the vocabulary.
    """

    objective: ClassVar[str] = "perplexity"
    direction: ClassVar[Direction] = TASKS["natlang"].direction
    loss_name: ClassVar[str] = "nll_nats"
    data_type: ClassVar[type[TaskData]] = Text
    vocabulary: ClassVar[int] = 10_000

    def __init__(
        self,
        text: Text,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        check_text(text, self.vocabulary)
        self._splits = {
            split: torch.from_numpy(getattr(text, split)).to(self.device) for split in SPLITS
        }

    @classmethod
    def network(cls, settings: NetworkSettings) -> Network:
        """Embedding, recurrent block, a dense layer with ReLU, a logit per word; needs no data."""
        return build_network(
            settings,
            input_size=EMBEDDING_SIZE,
            readout=(DENSE_SIZE, cls.vocabulary),
            vocabulary=cls.vocabulary,
        )

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[WordBatch]:
        """Chunk after chunk of ``batch_size`` streams; the generators are not used.

        Raises:
            ConfigError: if there are more streams than words to predict.
        """
        words, batch_size = len(self._splits["train"]), training.batch_size
        if words <= batch_size:
            raise ConfigError(
                f"training.batch_size: {batch_size} parallel streams need more words than the "
                f"{words} of the training text; lower it, or raise data.limit"
            )
        return self._chunks("train", replicas=len(generators), streams=batch_size)

    def batches_per_epoch(self, batch_size: int) -> int:
        """Chunks of the streams, the last maybe shorter."""
        return math.ceil((len(self._splits["train"]) - 1) // batch_size / CHUNK_WORDS)

    def loss(
        self,
        network: Network,
        weights: Mapping[str, Tensor],
        *,
        batch: WordBatch,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Mean over the words of the chunk, which goes on from the state of the one before."""
        states, final = network.recur(weights, batch.inputs, rows=batch.rows, initial_state=carry)
        features = network.read_but_last(weights, states)
        count = batch.targets.shape[1]
        shares = features.new_full((1, 1), 1.0 / count).expand(batch.targets.shape)
        mean, _ = softmax_nll(
            features, *network.last_layer(weights), targets=batch.targets, shares=shares
        )
        return BatchLoss(
            mean=mean,
            terms=torch.full_like(mean, count, requires_grad=False),
            carry=tuple(tuple(part.detach() for part in state) for state in final),
        )

    def evaluate(
        self, network: Network, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Perplexity of a split, and its logarithm, the mean negative log-likelihood of a word.

        Args:
            network: embedding, recurrent block and readout.
            weights: of the network.
            split: ``train``, ``valid`` or ``test``.

        Returns:
            ``perplexity`` and ``nll_nats``; ``perplexity_batch_mean``, the mean over whole chunks
            of the perplexity of each, which is the release's (a chunk of another length counts only
            where it is the only one). ``(replica,)`` each, in double precision.
        """
        weight, bias = network.last_layer(weights)
        streams = min(EVALUATION_STREAMS, len(self._splits[split]) - 1)
        total = torch.zeros(len(bias), dtype=torch.float64, device=self.device)
        count, state = 0, None
        of_chunks: list[Tensor] = []
        for batch in self._chunks(split, replicas=len(bias), streams=streams):
            states, state = network.recur(
                weights, batch.inputs, rows=batch.rows, initial_state=state
            )
            features = network.read_but_last(weights, states)
            own = word_nll(features, weight, bias, targets=batch.targets).double().sum(dim=1)
            words = batch.targets.shape[1]
            if not of_chunks or words == streams * CHUNK_WORDS:
                of_chunks.append((own / words).exp())
            total += own
            count += words
        nll = total / count
        return {
            "perplexity": nll.exp(),
            "perplexity_batch_mean": torch.stack(of_chunks).mean(dim=0),
            "nll_nats": nll,
        }

    def _chunks(self, split: str, *, replicas: int, streams: int) -> Iterator[WordBatch]:
        """A split's words side by side, ``(time, stream)``, a chunk of times after the other."""
        words = self._splits[split]
        length = (len(words) - 1) // streams
        inputs = words[: streams * length].reshape(streams, length).T
        targets = words[1 : streams * length + 1].reshape(streams, length).T
        for chunk in zip(
            torch.split(inputs, CHUNK_WORDS), torch.split(targets, CHUNK_WORDS), strict=True
        ):
            rows = full_rows(replicas, streams, times=len(chunk[0]), device=self.device)
            yield WordBatch(rows, *(part.flatten().expand(replicas, -1) for part in chunk))


def check_text(text: Text, vocabulary: int) -> None:
    """Raise a DataError unless every split has a word to predict, and only known words."""
    for split in SPLITS:
        words = getattr(text, split)
        if len(words) < 2:
            raise DataError(
                f"NatLang: the {split} text needs at least 2 words, the first of which nothing "
                f"predicts, got {len(words)}"
            )
        if words.min() < 0 or words.max() >= vocabulary:
            raise DataError(
                f"NatLang: the {split} text must hold numbers of words from 0 to "
                f"{vocabulary - 1}, got {words.min()} to {words.max()}"
            )


TASK = NatLang
