"""The sections of a fleet file, one class each, with the default, the limits and a description of every key.

    Train(epochs=2).learning_rate               # 0.0001372
    Serve.model_fields["port"].description      # "Port that HTTP listens on."

pipeline/core/fleet.py puts the sections together; docs/settings.md is made from these classes.
"""

from pipeline.core.settings.base_models import Adapt, Pretrain
from pipeline.core.settings.results import Evaluate, Publish, Wandb
from pipeline.core.settings.section import Section
from pipeline.core.settings.serve import EngineOptions, Serve
from pipeline.core.settings.train import Lora, Override, Sweep, Train
from pipeline.core.settings.tweets import Accounts, Filters, TweetSource

__all__ = [
    "Accounts",
    "Adapt",
    "EngineOptions",
    "Evaluate",
    "Filters",
    "Lora",
    "Override",
    "Pretrain",
    "Publish",
    "Section",
    "Serve",
    "Sweep",
    "Train",
    "TweetSource",
    "Wandb",
]
