"""Adapts a base model to a fleet's tweets without training bots: what `huggingtweets pretrain --from BASE` does.

metrics = adapt_base(fleet, progress)        # the base is in the folder `pretrain.out`
"""

from pipeline.base.adapt import AdaptMetrics, adapt
from pipeline.core.fleet import Fleet
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.settings import Adapt
from pipeline.core.store import write_folder_at
from pipeline.core.templates import render
from pipeline.plan.job import open_job
from pipeline.run import prepare


def adapt_base(fleet: Fleet, progress: Progress) -> AdaptMetrics:
    """Adapts `base_model` to the fleet's tweets, writes it to the folder `pretrain.out` and returns its metrics."""
    job = open_job(fleet.model_copy(update={"adapt": fleet.adapt or Adapt()}))
    files, metrics = adapt(job, prepare(job, progress), progress)
    card = render(
        ASSETS / "adapted_card.md.j2",
        fleet=fleet.fleet,
        base=fleet.base_model,
        settings=job.fleet.adapt,
        metrics=metrics,
    )
    write_folder_at(fleet.pretrain.out, files | {"README.md": card.encode()})
    return metrics
