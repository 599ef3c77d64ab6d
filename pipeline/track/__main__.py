"""The process that `start_sync` starts: a fleet, as JSON on stdin, is synced; it says on stdout how that went."""

import sys

from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.track.sync import sync

with Progress() as progress:
    print(sync(Fleet.model_validate_json(sys.stdin.read()), progress))
