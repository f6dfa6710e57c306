import math

import pytest

from dmu_search.data.bleu import corpus_bleu


def test_what_is_right_scores_100_and_what_has_nothing_right_0():
    references = ["the cat sat on the mat .", "a dog barks loudly ."]
    assert corpus_bleu(references, references) == pytest.approx(100)
    assert corpus_bleu(["", ""], references) == 0


def test_a_score_by_the_formula():
    """Geometric mean of the shares of right word sequences, times the penalty for brevity."""
    score = corpus_bleu(["the cat sat on a mat"], ["the cat sat on the mat ."])
    shares = [5 / 6, 3 / 5, 2 / 4, 1 / 3]
    penalty = math.exp(1 - 7 / 6)
    assert score == pytest.approx(100 * penalty * math.prod(shares) ** (1 / 4))
