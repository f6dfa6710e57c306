import os

# Two test processes and Ray's workers share two cores: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Longest files first, so that no test process ends long after the other."""
    first = ("tests/tune/test_search.py", "tests/cli/test_whole.py", "tests/tracking")
    items.sort(key=lambda item: not item.nodeid.startswith(first))
