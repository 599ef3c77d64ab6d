"""Syncs one fleet: reads the fleet as JSON from stdin and prints the result. `start_sync` runs it in the background.

python -m pipeline.track < fleet.json
"""

import sys

from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.track.sync import sync

with Progress() as progress:
    print(sync(Fleet.model_validate_json(sys.stdin.read()), progress))
