"""Writes a fleet file for files of tweets, with what was found in them: what `huggingtweets new archive.zip` does.

found = survey([TweetSource(path="archive.zip")])
path.write_text(fleet_file("ada", [TweetSource(path="archive.zip")], found))
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import yaml

from pipeline import tweets
from pipeline.core.errors import UsageError, UserError
from pipeline.core.settings import TweetSource
from pipeline.plan.bots import MIN_CHARS, WARN_CHARS
from pipeline.prepare.rules import judge

_SEPARATOR = len("<|endoftext|>")  # it counts between two tweets
_MAX_NAME = 63
_SHOWN = 20  # people that the fleet file lists


@dataclass
class Person:
    """What the files hold of one person; `characters` is the kept text, joined by the separator."""

    posts: int = 0
    kept: int = 0
    characters: int = 0

    def __str__(self) -> str:
        short = self.characters < MIN_CHARS
        verdict = " (too little for a bot)" if short else " (little)" if self.characters < WARN_CHARS else ""
        return f"{self.posts:,} posts, {self.kept:,} kept, {self.characters:,} characters{verdict}"


@dataclass
class Found:
    """What is in the files: people by handle, and the problems of files that gave nothing."""

    people: dict[str, Person] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    rejects: int = 0


def survey(sources: list[TweetSource]) -> Found:
    """Reads all files and applies the cleaning rules. Raises UserError if they hold nobody's tweets."""
    found = Found()
    for file in tweets.find(sources):
        if file.problem:
            found.problems.append(f"{file.label}: {file.problem}")
            continue
        for batch in tweets.read_batches(file):
            found.rejects += len(batch.rejects)
            found.problems += [f"{file.label}: {reject.reason}" for reject in batch.rejects if reject.line == 0]
            _count(batch, found.people)
    if not found.people:
        raise UserError("no posts found: " + "; ".join(found.problems[:3] or ["the files are empty"]))
    return found


def _count(batch: tweets.Batch, people: dict[str, Person]) -> None:
    frame = pl.DataFrame(pl.from_arrow(batch.records))
    judged = judge(frame["text"], frame["retweet"])
    frame = pl.DataFrame({"handle": frame["handle"], "kept": judged["verdict"] == "kept", "text": judged["text"]})
    for handle, kept, text in frame.iter_rows():
        person = people.setdefault(handle, Person())
        person.posts += 1
        if kept:
            person.characters += len(text) + (_SEPARATOR if person.kept else 0)
            person.kept += 1


def fleet_name(sources: list[TweetSource], found: Found) -> str:
    """The person's handle if there is one person, else the first source's name in the letters of a fleet name."""
    text = next(iter(found.people)) if len(found.people) == 1 else Path(sources[0].path).name.partition(".")[0]
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:_MAX_NAME] or "fleet"


def fleet_file(name: str, sources: list[TweetSource], found: Found) -> str:
    """The text of a fleet file with comments."""
    entries = [source.model_dump(exclude_unset=True) for source in sources]
    listed = yaml.safe_dump(
        [entry["path"] if list(entry) == ["path"] else entry for entry in entries], allow_unicode=True, sort_keys=False
    )
    largest = sorted(found.people.items(), key=lambda item: -item[1].characters)
    people = [f"#   {handle}: {person}" for handle, person in largest[:_SHOWN]]
    people += [f"#   and {len(largest) - _SHOWN:,} more"] if len(largest) > _SHOWN else []
    return "\n".join(
        [
            f"# {len(largest):,} {'person' if len(largest) == 1 else 'people'}. "
            f"A bot needs {MIN_CHARS:,} characters of kept text; {WARN_CHARS:,} make a good one.",
            *people,
            "",
            f"fleet: {yaml.safe_dump(name).split()[0]}",
            "tweets:",
            *(f"  {line}" for line in listed.splitlines()),
            "storage: ./fleets          # or s3://…, gs://…",
            "base_model: mini           # bundled, for machines without a GPU; gpt2 writes better and wants one",
            "bots: all                  # one for each person; [ada, [ada, ben]] makes one bot and one blend",
            "# train: {epochs: 4}       # every key, its default and its limits: docs/settings.md",
            "",
        ]
    )


def new(sources: list[str], out: Path | None, handle: str | None) -> tuple[Path, Found]:
    """Surveys the files and writes the fleet file, by default `NAME.yaml` in the current folder.

    `handle` says whose the files are, if they do not. Raises UsageError if the fleet file exists already.
    """
    given = {} if handle is None else {"handle": handle}
    absolute = [path if "://" in path else str(Path(path).expanduser().absolute()) for path in sources]
    found = survey([TweetSource(path=path, **given) for path in absolute])
    shown = [TweetSource(path=path, **given) for path in absolute]
    name = fleet_name(shown, found) if out is None else re.sub(r"[^a-z0-9_-]+", "-", out.stem.lower())[:_MAX_NAME]
    target = out or Path(f"{name}.yaml")
    folder = target.absolute().parent
    shown = [source.model_copy(update={"path": _relative(source.path, folder)}) for source in shown]
    if target.exists():
        raise UsageError(f"{target}: exists already; --out names another file")
    target.write_text(fleet_file(name, shown, found), encoding="utf-8")
    return target, found


def _relative(path: str, folder: Path) -> str:
    """A path inside the folder relative to it; any other path as it is."""
    if "://" in path or not Path(path).is_relative_to(folder):
        return path
    return str(Path(path).relative_to(folder))
