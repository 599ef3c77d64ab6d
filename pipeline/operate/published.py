"""The published bots of a fleet: what `deploy` serves and `publish --hub` pushes.

job, versions = published(fleet, ["nasa"])      # versions == {"nasa": "0123456789ab"}
"""

from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.progress import Progress
from pipeline.plan.bots import plan
from pipeline.plan.job import Job, open_job
from pipeline.publish import hub
from pipeline.run import prepared_index


def published(fleet: Fleet, only: list[str] | None = None) -> tuple[Job, dict[str, str]]:
    """The fleet's job, and the version in use of each published bot (of `only` these, if given).

    Raises UserError if none of them is published, UsageError for a bot that the fleet does not have.
    """
    job = open_job(fleet)
    bots = plan(job, prepared_index(job), only)
    names = [bot.name for bot in bots if only is None or bot.name in only]
    found = zip(names, job.store.map(job.store.current_version, names), strict=True)
    versions = {name: version for name, version in found if version}
    if not versions:
        raise UserError(f"fleet {fleet.fleet}: no bot is published yet; `huggingtweets run` makes them")
    return job, versions


def push(fleet: Fleet, only: list[str] | None, organisation: str, progress: Progress) -> list[hub.Pushed]:
    """Pushes the published bots to the organisation's repositories on the Hugging Face hub."""
    job, versions = published(fleet, only)
    return hub.push(job.store, versions, organisation, fleet.publish.private, progress)
