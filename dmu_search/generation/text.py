"""Text that goes on: the words that a NatLang network expects after others."""

from collections.abc import Sequence

import torch

from dmu_search.data.treebank import END_OF_LINE
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.generation.stepping import advance, draw_word, read

UNKNOWN = "<unk>"


def known_words(text: str, vocabulary: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a text as a network reads them: split at blanks, lower-case if only so known.

    Args:
        text: any.
        vocabulary: all words that there are.

    Returns:
        The words, ``<unk>`` in the place of unknown ones, and the unknown ones, each once.
    """
    known = set(vocabulary)
    read_as: list[str] = []
    unknown: dict[str, None] = {}
    for word in text.split():
        found = next((form for form in (word, word.lower()) if form in known), None)
        if found is None:
            unknown[word] = None
        read_as.append(found or UNKNOWN)
    return read_as, list(unknown)


def continue_words(
    network: TrainedNetwork,
    vocabulary: Sequence[str],
    *,
    prompt: Sequence[str] = (),
    count: int,
    temperature: float = 1.0,
    generator: torch.Generator,
) -> list[str]:
    """What a network writes after some words, from the beginning of a line.

    Args:
        network: trained on ``natlang``.
        vocabulary: its words by number.
        prompt: words of the vocabulary to go on from; may be empty.
        count: words to add, ends of lines included, at least 1.
        temperature: as in ``softmax(logits / temperature)``; 0: always the most probable word.
        generator: on the CPU; it advances, but for a temperature of 0.

    Returns:
        The added words alone, ``<eos>`` where a line ends.

    Raises:
        KeyError: a word of ``prompt`` is not in the vocabulary; see ``known_words``.
    """
    numbers = {word: number for number, word in enumerate(vocabulary)}
    begun = [numbers[word] for word in (END_OF_LINE, *prompt)]
    standing = read(network, torch.tensor(begun))
    added = []
    for _ in range(count):
        # A short text has fewer words than the network has outputs.
        logits = standing.outputs[:, : len(vocabulary)]
        word = draw_word(logits, temperature, generator=generator)
        added.append(vocabulary[int(word)])
        standing = advance(network, standing, x=word)
    return added


def as_lines(words: Sequence[str]) -> str:
    """Words as text: blanks between them, and a new line in the place of ``<eos>``."""
    lines = " ".join(words).split(END_OF_LINE)
    return "\n".join(line.strip() for line in lines)
