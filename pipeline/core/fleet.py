"""The fleet file: one YAML that describes a fleet of bots, validated. The only way in for settings.

    fleet = load("fleet.yaml", ["train.epochs=2"])
    fleet.train.epochs, fleet.storage

Relative paths start at the YAML's folder. Every key but `fleet` and `tweets` has a default. Secrets
(W&B's, the hub's, the store's) are the only settings that come from the environment.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, field_validator

from pipeline.core.errors import UsageError
from pipeline.core.names import FLEET_NAME, MAX_BLEND, MAX_BOT_NAME, bot_name, handle_of, not_a_handle
from pipeline.core.settings import (
    Accounts,
    Adapt,
    Evaluate,
    Filters,
    Pretrain,
    Publish,
    Section,
    Serve,
    Sweep,
    Train,
    TweetSource,
    Wandb,
)


class Fleet(Section):
    fleet: str
    tweets: list[TweetSource] = Field(min_length=1)
    storage: str = "./fleets"
    base_model: str = "mini"
    bots: Literal["all"] | Annotated[list[str | list[str]], Field(min_length=1)] = "all"
    people: dict[str, Accounts] = Field(
        {}, description="Several accounts of one person: {ada: [ada_x, ada.bsky.social]}."
    )
    filters: Filters = Filters()
    train: Train = Train()
    adapt: Adapt | None = None
    serve: Serve = Serve()
    wandb: Wandb = Wandb()
    publish: Publish = Publish()
    evaluate: Evaluate = Evaluate()
    sweep: Sweep = Sweep()
    pretrain: Pretrain = Pretrain()

    @field_validator("fleet")
    @classmethod
    def _name(cls, value: str) -> str:
        if not FLEET_NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not a fleet name (1-63 of a-z 0-9 - _)")
        return value

    @field_validator("tweets", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("people", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`ada: [ada_x, ada.bsky.social]` is short for `ada: {accounts: [...]}`."""
        if not isinstance(value, dict):
            return value
        return {str(key): {"accounts": one} if isinstance(one, list) else one for key, one in value.items()}

    @field_validator("people")
    @classmethod
    def _people(cls, value: dict[str, Accounts]) -> dict[str, Accounts]:
        owners: dict[str, str] = {}
        for person, entry in value.items():
            if handle_of(person) != person:
                raise ValueError(not_a_handle(person))
            for account in entry.accounts:
                if owners.setdefault(account, person) != person:
                    raise ValueError(f"the account {account} is listed for {owners[account]} and for {person}")
                if account in value and account != person:
                    raise ValueError(f"{account} is a person of its own, and an account of {person}")
        return value

    @field_validator("adapt", mode="before")
    @classmethod
    def _adapt(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @field_validator("bots")
    @classmethod
    def _bots(cls, value: Any) -> Any:
        return value if value == "all" else [_bot_entry(entry) for entry in value]

    @property
    def chosen(self) -> list[str] | None:
        """The names of the bots asked for, blends joined; None for one bot per person found."""
        if self.bots == "all":
            return None
        names = [bot_name([bot] if isinstance(bot, str) else bot) for bot in self.bots]
        return list(dict.fromkeys(names))

    @property
    def owners(self) -> dict[str, str]:
        """Whose each account of `people` is: {"ada_bsky_social": "ada"}."""
        return {account: person for person, entry in self.people.items() for account in entry.accounts}


def _bot_entry(entry: str | list[str]) -> str | list[str]:
    if isinstance(entry, str):
        handle = handle_of(entry)
        if handle is None:
            raise ValueError(not_a_handle(entry))
        return handle
    handles = [_bot_entry(one) for one in entry]
    if not 1 <= len(set(map(str, handles))) <= MAX_BLEND:
        raise ValueError(f"a blend takes 1 to {MAX_BLEND} people, not {len(handles)}")
    blend = sorted({str(handle) for handle in handles})
    if len(bot_name(blend)) > MAX_BOT_NAME:
        raise ValueError(f"the name of a blend, {bot_name(blend)[:40]}…, is over {MAX_BOT_NAME} characters")
    return blend


def load(path: str | Path, settings: list[str] | None = None) -> Fleet:
    """Reads and validates a fleet file; `settings` are `--set` entries such as "train.epochs=2".

    Raises UsageError naming the file, the key and the reason.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such fleet file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none, such as 2020-13-45
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a fleet file is a mapping of keys such as `fleet:` and `tweets:`")
    for setting in settings or []:
        _set(data, setting)
    try:
        # a section left empty (`train:` and nothing under it) is a section of defaults
        fleet = Fleet.model_validate({key: value for key, value in data.items() if value is not None})
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None
    try:
        return _anchored(fleet, path.resolve().parent)
    except RuntimeError as error:  # ~somebody, who has no account here
        raise UsageError(f"{path}: a path that starts with ~: {error}") from None


def _set(data: dict[str, Any], setting: str) -> None:
    """Puts one `--set key.sub=value` into the raw data; the value is read as YAML."""
    key, equals, value = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise UsageError(f"--set {setting}: write it as key=value, for instance train.epochs=2")
    *parents, last = key.split(".")
    for parent in parents:
        child = data[parent] = data.get(parent) or {}
        if not isinstance(child, dict):
            raise UsageError(f"--set {setting}: {parent} is not a section")
        data = child
    try:
        data[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        raise UsageError(f"--set {setting}: {value!r} is not a YAML value") from None


def _anchored(fleet: Fleet, folder: Path) -> Fleet:
    """The fleet with relative paths made absolute, from the YAML's folder."""

    def absolute(path: str) -> str:
        return path if "://" in path else str(folder / Path(path).expanduser())

    tweets = [
        source.model_copy(update={"path": absolute(source.path), "users": source.users and absolute(source.users)})
        for source in fleet.tweets
    ]
    base = fleet.base_model
    if base.startswith((".", "~", "/")) or (folder / base).is_dir():
        base = absolute(base)
    pretrain = fleet.pretrain.model_copy(update={"out": absolute(fleet.pretrain.out)})
    listed = fleet.evaluate.block_list
    evaluate = fleet.evaluate.model_copy(update={"block_list": absolute(listed) if listed else None})
    filters = fleet.filters
    if isinstance(filters.blocked_words, str):
        filters = filters.model_copy(update={"blocked_words": absolute(filters.blocked_words)})
    update = {"tweets": tweets, "storage": absolute(fleet.storage), "base_model": base, "pretrain": pretrain}
    keys_file = fleet.serve.keys_file
    served = fleet.serve.model_copy(update={"keys_file": absolute(keys_file) if keys_file else None})
    update |= {"evaluate": evaluate, "filters": filters, "serve": served}
    return fleet.model_copy(update=update)


def explain(error: ValidationError) -> str:
    """Each problem as `key: reason`, an unknown key with the nearest known one; all on one line."""
    problems = []
    for item in error.errors():
        location = [part for part in item["loc"] if part not in _UNION_TAGS]
        key = ".".join(map(str, location))
        if item["type"] == "extra_forbidden":
            known = _keys_at(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known keys: {', '.join(known)}" if known else ""
            problems.append(f"{key}: unknown key{hint}")
        elif item["type"] == "missing":
            problems.append(f"{key}: missing; every fleet file needs it")
        else:
            reason = item["msg"].removeprefix("Value error, ")
            given = f" (given {item['input']!r})" if isinstance(item["input"], str | int | float) else ""
            problems.append(f"{key or 'fleet file'}: {reason}{given}")
    return "; ".join(dict.fromkeys(problems))


_UNION_TAGS = {
    "int",
    "constrained-int",
    "str",
    "list[str]",
    "list[union[str,list[str]]]",
    "literal['auto']",
    "literal['all']",
}


def _keys_at(location: list[Any]) -> list[str]:
    """The known keys of the section at `location`, for the suggestion."""
    section: Any = Fleet
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        section = next((kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)), None)
        if section is None:
            return []
    return [field.alias or name for name, field in section.model_fields.items()]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
