"""``python -m dmu_search``."""

import sys

from dmu_search.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
