"""Sampling without Serve: what `huggingtweets generate` does."""

import tempfile
from pathlib import Path

from pydantic import ValidationError

from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet
from pipeline.core.names import parse_bot_name
from pipeline.core.store import Store
from serve.engine.parameters import Parameters
from serve.http.errors import explain
from serve.http.forms.text_generation import TextGeneration


def sample(fleet: Fleet, bot: str, prompt: str, n: int, seed: int | None) -> list[str]:
    """`n` continuations of the prompt by the bot's version in use, as `serve` has its engine say them."""
    bot = parse_bot_name(bot)
    try:
        asked = TextGeneration(inputs=prompt, parameters=Parameters(num_return_sequences=n, seed=seed))
    except ValidationError as error:
        raise UsageError(explain(error)) from None
    store = Store.of(fleet)
    version = store.current_version(bot)
    if version is None:
        raise UserError(f"bot {bot} is not published in fleet {fleet.fleet}; `huggingtweets run` makes it")
    import torch

    from serve.engine.engine import Engine, Request

    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            engine = Engine(store.fetch(f"bots/{bot}/{version}", Path(scratch)), **fleet.serve.engine)
    except ValueError as error:
        raise UserError(f"bot {bot}: {error}") from None
    try:
        choices = engine.generate([Request(asked.inputs, asked.parameters)])[0]
    except ValueError as error:
        raise UsageError(str(error)) from None
    return [prompt + choice.text for choice in choices]
