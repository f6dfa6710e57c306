import pytest

from dmu_search.config.settings import ResourceSettings
from dmu_search.errors import ConfigError
from dmu_search.on_ray.resources import TrialShare, idle, share_for_memory, trial_share

GIB = 2**30


def share(*, cpus=2.0, gpus=0.0, per_trial="auto", cpu_share="auto", measured=None, limit=None):
    settings = ResourceSettings(per_trial, cpu_share, None, None, 400, None)
    return trial_share(
        settings, cpus=cpus, gpus=gpus, measured_gpu_share=measured, max_concurrent=limit
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, TrialShare(1.0, 0.0, 2)),
        ({"limit": 1}, TrialShare(1.0, 0.0, 1)),
        ({"cpus": 8, "cpu_share": 3}, TrialShare(3.0, 0.0, 2)),
        ({"cpus": 1, "cpu_share": 0.5}, TrialShare(0.5, 0.0, 2)),
        # The paper's workstation: four cards, a quarter of one each, sixteen trials.
        ({"cpus": 12, "gpus": 4, "per_trial": 0.25}, TrialShare(0.75, 0.25, 16)),
        ({"cpus": 2, "gpus": 4, "per_trial": 0.25}, TrialShare(0.125, 0.25, 16)),
        # Fractions never add up across cards: 0.3 is three per card, not thirteen on four.
        ({"cpus": 24, "gpus": 4, "per_trial": 0.3}, TrialShare(1.0, 0.3, 12)),
        ({"cpus": 24, "gpus": 4, "per_trial": 2}, TrialShare(1.0, 2.0, 2)),
        ({"cpus": 24, "gpus": 4, "per_trial": 0}, TrialShare(1.0, 0.0, 24)),
        # Measured: bounded by the cores that feed the cards.
        ({"cpus": 12, "gpus": 4, "measured": 0.1}, TrialShare(1.0, 0.1, 12)),
        ({"cpus": 12, "gpus": 4, "measured": 0.5}, TrialShare(1.0, 0.5, 8)),
        ({"cpus": 12, "gpus": 4}, TrialShare(1.0, 1.0, 4)),
    ],
)
def test_shares(given, expected):
    assert share(**given) == expected


def test_shares_add_up_to_no_more_than_there_is():
    for gpus in range(1, 9):
        for per_trial in (0.05, 0.1, 0.15, 0.33, 0.7, 1.0):
            got = share(cpus=3, gpus=gpus, per_trial=per_trial)
            assert got.cpus * got.concurrent <= 3 + 1e-9
            assert got.gpus * got.concurrent <= gpus + 1e-9
            assert got.concurrent >= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"per_trial": 0.5}, "one trial wants 0.5 GPUs and there are 0"),
        ({"gpus": 2, "per_trial": 3}, "one trial wants 3 GPUs and there are 2"),
        ({"gpus": 4, "per_trial": 1.5}, "only whole GPUs can be given, got 1.5; use 2"),
        ({"cpus": 2, "cpu_share": 4}, "one trial wants 4 cores and there are 2"),
    ],
)
def test_more_than_there_is(given, message):
    with pytest.raises(ConfigError, match=message):
        share(**given)


@pytest.mark.parametrize(
    ("needed", "expected"), [(1 * GIB, 0.1666), (3 * GIB, 0.5), (7 * GIB, 1.0), (9 * GIB, 1.0)]
)
def test_a_measured_need_becomes_an_even_share_of_an_8_gib_card(needed, expected):
    assert share_for_memory(needed, 8 * GIB) == expected


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "limit", "said"),
    [
        (TrialShare(1.0, 1.0, 3), 3, 6, None, "3 of 6 GPUs: 3 cores feed 3 trials"),
        (TrialShare(0.75, 0.25, 16), 12, 4, None, None),
        (TrialShare(1.0, 0.25, 5), 8, 4, 5, "2 of 4 GPUs: search.max_concurrent=5"),
        (TrialShare(1.0, 2.0, 1), 8, 3, None, "1 of 3 GPUs: one trial takes 2"),
        (TrialShare(1.0, 0.0, 8), 64, 0, 8, "56 of 64 CPU cores: search.max_concurrent=8"),
        (TrialShare(3.0, 0.0, 2), 8, 0, None, "2 of 8 CPU cores: one trial takes 3"),
        (TrialShare(1.0, 0.0, 2), 2, 0, None, None),
        (TrialShare(1.0, 0.0, 2), 2, 1, None, "1 of 1 GPUs: resources.gpus_per_trial=0"),
    ],
)
def test_idle_devices_are_named_with_the_reason(share, cpus, gpus, limit, said):
    assert idle(share, cpus=cpus, gpus=gpus, max_concurrent=limit) == said
