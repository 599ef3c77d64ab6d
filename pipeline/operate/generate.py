"""Text from a published bot in this process, without Serve: what `generate` and `chat` do.

    bot = LocalBot.load(fleet, "nasa")
    bot.generate("My dream is", num_return_sequences=3, seed=1)      # three texts that start with the prompt
    bot.signed("My dream is", seed=1)          # [{"generated_text": "My dream is …", "signature": "…"}]

The parameters are those of the HTTP interface (docs/http.md), with the same defaults and limits.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from pipeline.core import checksums, signing_keys, watermark_keys
from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet
from pipeline.core.names import parse_bot_name
from pipeline.core.store import Store
from serve.engine.engine import Engine, Request
from serve.engine.parameters import Parameters
from serve.http.errors import explain
from serve.http.forms.text_generation import TextGeneration


@dataclass
class LocalBot:
    """A published bot, loaded into this process."""

    name: str
    version: str
    engine: Engine
    store: Store
    watermark: bytes | None  # its secret, where `serve.watermark` is on

    @classmethod
    def load(cls, fleet: Fleet, bot: str) -> "LocalBot":
        """Loads the version in use. Raises UserError if the bot is not published, was damaged, or does not load."""
        name, store = parse_bot_name(bot), Store.of(fleet)
        version = store.current_version(name)
        if version is None:
            raise UserError(f"bot {name} is not published in fleet {fleet.fleet}; `huggingtweets run` makes it")
        torch.set_num_threads(1)  # with more, small models are many times slower
        try:
            with tempfile.TemporaryDirectory() as folder:
                files = store.fetch(f"bots/{name}/{version}", Path(folder))
                checksums.check(files)
                engine = Engine(files, **fleet.serve.engine)
        except ValueError as error:
            raise UserError(f"bot {name}: {error}") from None
        watermark = watermark_keys.secret_in_use(store) if fleet.serve.watermark else None
        return cls(name, version, engine, store, watermark)

    def generate(self, prompt: str, **parameters: Any) -> list[str]:
        """`num_return_sequences` texts that start with the prompt. Raises UsageError for invalid parameters."""
        return [prompt + answer for answer in self._answers(prompt, **parameters)]

    def signed(self, prompt: str, **parameters: Any) -> list[dict[str, str]]:
        """The same texts, each with the signature of what the bot wrote ("" if the fleet has no key and can't have)."""
        keyring = signing_keys.load_or_create(self.store)
        return [
            {"generated_text": prompt + answer, "signature": keyring.sign(self.name, self.version, prompt, answer)}
            for answer in self._answers(prompt, **parameters)
        ]

    def _answers(self, prompt: str, **parameters: Any) -> list[str]:
        try:
            request = TextGeneration(inputs=prompt, parameters=Parameters(**parameters))
            wanted = Request(request.inputs, request.parameters, watermark=self.watermark)
            [choices] = self.engine.generate([wanted])
        except ValidationError as error:
            raise UsageError(explain(error)) from None
        except ValueError as error:
            raise UsageError(str(error)) from None
        return [choice.text for choice in choices]
