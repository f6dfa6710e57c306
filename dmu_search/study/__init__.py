"""The Optuna study of a search: proposals, results, state; the only users of Optuna."""

from dmu_search.study.search_study import Proposal, SearchStudy, WarmStart

__all__ = ["Proposal", "SearchStudy", "WarmStart"]
