"""Views of an experiment that MLflow's pages open with: columns, order and charts.

MLflow keeps a view as a tag of the experiment, and an address names its key. The format is that of
MLflow's own share button; it is documented nowhere, so a test opens both views in a browser.
"""

import json
from collections.abc import Sequence

TABLE, CHARTS = "dmu_search_table", "dmu_search_charts"
_TAG = "mlflow.sharedViewState."
_SECTION = "dmu_search_section"
# In one chart; MLflow draws no more at a time.
_RUNS = 500


def view_tags(
    objective: str, direction: str, *, columns: Sequence[str], axes: Sequence[str]
) -> dict[str, str]:
    """Tags of an experiment: the view of the table, and that of the charts.

    Args:
        objective: name of the validation metric.
        direction: ``minimize`` or ``maximize``: whether a small or a large one is good.
        columns: searched keys that the table shows.
        axes: of these, the ones of the parallel coordinates.
    """
    shown = [
        "metrics.`objective`",
        "tags.`best`",
        *(f"params.`{name}`" for name in columns),
        "tags.`outcome`",
        "tags.`model`",
        "tags.`depth`",
    ]
    state = {
        "searchFilter": "",
        "orderByKey": "metrics.`objective`",
        "orderByAsc": direction == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": shown,
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "SHOWALL",
        "runsVisibilityMap": {},
        "runListHidden": False,
        "viewMaximized": False,
        "isAccordionReordered": True,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
        "compareRunSections": [
            {"uuid": _SECTION, "name": "Search", "display": True, "isReordered": True}
        ],
        "compareRunCharts": [
            _line("learning", "Learning curves", metric=f"best_{objective}"),
            _line("best", "Best by trial", metric="best_so_far"),
            _parallel(axes),
            _bar(),
        ],
    }
    # MLflow nests children below their parent only where it sorts by time; groups it always sorts.
    by_study = {
        "aggregateFunction": "min" if state["orderByAsc"] else "max",
        "groupByKeys": [{"mode": "tag", "groupByData": "study"}],
    }
    return {
        f"{_TAG}{TABLE}": json.dumps({**state, "groupBy": by_study}),
        f"{_TAG}{CHARTS}": json.dumps({**state, "compareRunsMode": "CHART"}),
    }


def _card(key: str, kind: str, *, title: str) -> dict[str, object]:
    return {
        "uuid": f"dmu_search_{key}",
        "type": kind,
        "displayName": title,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": _RUNS,
    }


def _line(key: str, title: str, *, metric: str) -> dict[str, object]:
    return _card(key, "LINE", title=title) | {
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "scaleType": "log",
        "lineSmoothness": 0,
        "ignoreOutliers": False,
        "range": {},
    }


def _parallel(searched: Sequence[str]) -> dict[str, object]:
    return _card("parallel", "PARALLEL", title="Settings and objective") | {
        "selectedParams": list(searched),
        "selectedMetrics": ["objective"],
        "showAllRuns": True,
    }


def _bar() -> dict[str, object]:
    return _card("bar", "BAR", title="Objective of each trial") | {"metricKey": "objective"}
