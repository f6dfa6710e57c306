"""Translations of single sentences: the most probable by beam search, or drawn by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.engine.tasks.sentences import END
from dmu_search.generation.stepping import Standing, advance, draw_word, read_source


@dataclass(frozen=True)
class Hypothesis:
    """A translation, or the beginning of one.

    Attributes:
        words: their numbers, ``END`` included where it has ended.
        log_probability: natural logarithm of the probability of all of them.
    """

    words: tuple[int, ...] = ()
    log_probability: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether it was not cut off."""
        return self.words[-1:] == (END,)

    @property
    def score(self) -> float:
        """The mean of the words' log-probabilities, ``END`` among them.

        Without the division by their number a short translation would win by being short.
        """
        return self.log_probability / max(len(self.words), 1)


def translate(
    network: TrainedNetwork, source: Sequence[int], *, beam: int = 1, longest: int
) -> Hypothesis:
    """The best translation that a beam search finds; a beam of 1 takes the best word at each step.

    Each step keeps the most probable of all beginnings, as many as the beam has places. One that
    ends keeps its place, so the search is over when all have ended. The translation with the
    highest ``score`` wins; those that are cut off count only where none has ended.

    Args:
        network: trained on a translation task.
        source: numbers of the sentence's words, without markers.
        beam: translations that are followed side by side, at least 1.
        longest: words after which a translation is cut off, ``END`` included.
    """
    standing = read_source(network, torch.tensor(source, dtype=torch.int64))
    running, ended = [Hypothesis()], list[Hypothesis]()
    for _ in range(longest):
        best = _extended(running, standing, count=beam - len(ended))
        ended += [each for _, each in best if each.ended]
        kept = [(parent, each) for parent, each in best if not each.ended]
        running = [each for _, each in kept]
        if not running:
            break
        parents = torch.tensor([parent for parent, _ in kept])
        words = torch.tensor([each.words[-1] for each in running])
        standing = advance(network, standing.take(parents), x=words)
    return max(ended or running, key=lambda each: each.score)


def draw_translation(
    network: TrainedNetwork,
    source: Sequence[int],
    *,
    temperature: float,
    longest: int,
    generator: torch.Generator,
) -> Hypothesis:
    """A translation by chance, word by word from ``softmax(logits / temperature)``.

    Args:
        network: trained on a translation task.
        source: numbers of the sentence's words, without markers.
        temperature: above 0.
        longest: words after which it is cut off, ``END`` included.
        generator: on the CPU; it advances.

    Returns:
        With the log-probability that the network gives it at a temperature of 1.
    """
    standing = read_source(network, torch.tensor(source, dtype=torch.int64))
    said = Hypothesis()
    for _ in range(longest):
        word = draw_word(standing.outputs, temperature, generator=generator)
        own = float(_log_probabilities(standing)[0, word])
        said = Hypothesis((*said.words, int(word)), said.log_probability + own)
        if said.ended:
            break
        standing = advance(network, standing, x=word)
    return said


def _extended(
    running: Sequence[Hypothesis], standing: Standing, *, count: int
) -> list[tuple[int, Hypothesis]]:
    """The most probable of all extensions by a word, each with the place of what it extends."""
    before = torch.tensor([each.log_probability for each in running], dtype=torch.float64)
    totals = before.unsqueeze(1) + _log_probabilities(standing)
    words = totals.shape[1]
    values, places = totals.flatten().topk(min(count, totals.numel()))
    return [
        (place // words, Hypothesis((*running[place // words].words, place % words), value))
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
    ]


def _log_probabilities(standing: Standing) -> Tensor:
    """Of every word, ``(batch, word)``, in double precision."""
    return torch.log_softmax(standing.outputs.double(), dim=-1)
