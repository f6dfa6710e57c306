"""Tasks and models by what they have in common, so that a new row is tested like the others."""

from dmu_search.engine.networks.cells import recurrent_block
from dmu_search.engine.settings import NetworkSettings
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.published import published

GENERATED = tuple(name for name, entry in TASKS.items() if entry.data == "generated")
TRANSLATION = tuple(name for name, entry in TASKS.items() if entry.data == "pairs")
ON_FILES = tuple(name for name, entry in TASKS.items() if entry.files)
MUSIC = tuple(name for name, entry in TASKS.items() if entry.data == "corpus")
IN_PAPER = tuple(name for name in TASKS if published(name).in_paper)
# Models whose cells the native loop runs.
NATIVE = tuple(
    name
    for name in MODELS
    if all(cell.program is not None for cell in recurrent_block(1, NetworkSettings(name, (1,))))
)
