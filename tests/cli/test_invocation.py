"""Commands that a user is told to type."""

import json
import shlex

from dmu_search.cli.invocation import in_job


def test_inside_a_job_of_rays_a_command_is_a_job_with_time_to_end_in_order(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    words = "python -m dmu_search tune resume='a study'"
    assert in_job(words) == words
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    typed = shlex.split(in_job(words))
    assert typed[:4] == ["ray", "job", "submit", "--runtime-env-json"]
    assert json.loads(typed[4]) == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}}
    assert typed[5:] == ["--", *shlex.split(words)]
