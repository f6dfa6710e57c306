"""BLEU of translations, the score of the field beside the paper's accuracy."""

from collections.abc import Iterable, Sequence


def corpus_bleu(translations: Iterable[str], references: Sequence[str]) -> float:
    """BLEU of all sentences together, 0 to 100.

    Papineni et al. (2002), by sacreBLEU (Post, 2018): up to four words, exponential smoothing. The
    tokens are the task's own, so values of systems with other tokens are not comparable.

    Args:
        translations: tokens with blanks between them.
        references: the right translation of each, in the same form.
    """
    # Loaded when the first translation is scored: other tasks never need it.
    import sacrebleu

    # `force` means that tokenised text is no mistake.
    score = sacrebleu.corpus_bleu(list(translations), [references], tokenize="none", force=True)
    return float(score.score)
