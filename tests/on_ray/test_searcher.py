"""What Ray Tune is handed, without a Ray."""

import time

from dmu_search.on_ray.interrupt import Halt
from dmu_search.on_ray.searcher import EPOCH_S, StudySearcher
from dmu_search.study.trials import Report
from tests.study.toy import make


def test_a_proposal_that_takes_longer_than_an_epoch_is_said_once(monkeypatch):
    study = make(sampler="random", trials=6, warm_starts=(), scheduler="none")
    said = []
    searcher = StudySearcher(study, Halt(), max_concurrent=6, say=said.append)
    first = searcher.suggest("a")["number"]
    study.report(first, Report(1, 1.0, {EPOCH_S: 0.05}))
    assert said == []
    quick = study.next

    def slow():
        time.sleep(0.15)
        return quick()

    monkeypatch.setattr(study, "next", slow)
    assert [searcher.suggest(name)["number"] for name in "bc"] == [1, 2]
    (sentence,) = said
    assert sentence.endswith(" s and an epoch only 0.05 s; search.sampler=random proposes at once")


def test_a_proposal_shorter_than_an_epoch_is_not_worth_a_word(monkeypatch):
    study = make(sampler="random", trials=6, warm_starts=(), scheduler="none")
    said = []
    searcher = StudySearcher(study, Halt(), max_concurrent=6, say=said.append)
    study.report(searcher.suggest("a")["number"], Report(1, 1.0, {EPOCH_S: 30.0}))
    quick = study.next
    monkeypatch.setattr(study, "next", lambda: (time.sleep(0.15), quick())[1])
    assert searcher.suggest("b")["number"] == 1
    assert said == []
