"""Measures one bot after another against the base model: held-out loss, and what its samples show.

    measurer = Measurer(job, block_list=None)
    metrics = measurer.measure("work/trained/nasa/0123456789ab", weights, ["nasa"], group=None, continued=False)

A worker makes one `Measurer`: it holds the base model's network, for losses, and the serving engine, for samples.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import model_folder
from pipeline.core.bot_files import Metrics
from pipeline.core.model_folder import ModelFolder
from pipeline.evaluate import voice_groups
from pipeline.evaluate.measures.authorship import authorship
from pipeline.evaluate.measures.copying import copying
from pipeline.evaluate.measures.held_out import characters, held_out, per_tweet
from pipeline.evaluate.measures.memory import TRAINING, memory
from pipeline.evaluate.measures.real_or_bot import Texts, real_or_bot
from pipeline.evaluate.measures.safety import safety
from pipeline.evaluate.measures.sense import sense, vocabulary
from pipeline.evaluate.measures.variety import variety
from pipeline.evaluate.measures.voice import voice
from pipeline.evaluate.voice_groups import Voices
from pipeline.plan.job import Job
from pipeline.prepare.kept_tweets import read_tweets
from pipeline.publish.card import PROMPT
from pipeline.train import packing
from pipeline.train.learned_tweets import read_learned
from pipeline.train.loss import token_losses

# the keys of metrics.json set here
MEASURED = {
    "held_out",
    "voice",
    "authorship",
    "real_or_bot",
    "sense",
    "copying",
    "memory",
    "variety",
    "safety",
    "samples",
}
PROMPTS = (PROMPT, "I think", "Today", "The best thing about")  # of one half of the samples; the other half has none
_SHOWN = 5  # samples kept in metrics.json, with PROMPT and without a prompt each
_CHOICES = 8  # samples of one request
_LARGE_BASE = 1e9  # bytes of a model folder
_MEMORY_SHARE = 0.1  # of a GPU
# the model and the base's weights in fp32, the engine's in bf16, and the engine's cache, which grows with the model
_BYTES_A_PARAMETER = 16
_WORKING_BYTES = 2 * 2**30  # logits, CUDA's own

Sample = tuple[str, str]  # the prompt, and the text after it


class Measurer:
    """The base model and the serving engine, ready to measure bots."""

    def __init__(self, job: Job, block_list: frozenset[str] | None, beside_lanes: bool = False):
        """Loads the base model, on a GPU if this process sees one, and samples from it.

        `beside_lanes`: lanes share the GPU; this process then takes no more of its memory than `memory_share`.
        """
        import torch  # late, as below: the command that starts the workers imports this module, too

        from pipeline.core import onednn
        from serve.engine.engine import Engine

        self.store, self.block_list = job.store, block_list
        self.block_size, self.count = job.train.block_size, job.fleet.evaluate.samples
        choose_gpu()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with tempfile.TemporaryDirectory() as folder:
            self.network: Any = model_folder.load_model(job.base.write(Path(folder))).eval()
            if beside_lanes and self.device.type == "cuda":
                whole = torch.cuda.get_device_properties(self.device).total_memory
                torch.cuda.set_per_process_memory_fraction(memory_share(self.network.num_parameters(), whole))
            self.network.to(self.device)
            if self.device.type == "cpu":
                onednn.patch_linear_layers(self.network)
            self.engine = Engine(Path(folder))
        self.base_state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        samples = self._samples()
        self.base_texts = [text for _, text in samples]
        self.base_unprompted = self._with_nats(_unprompted(samples))
        self.voices: dict[str, Voices | None] = {}  # the last ones used, by their group

    def measure(
        self, folder: str, weights: Path, handles: Sequence[str], group: str | None, continued: bool
    ) -> Metrics:
        """The entries of metrics.json for the bot of these people in the store's `folder`; `weights` is its file.

        `group` is the voice group in which the bot is judged. A bot that was `continued` from its last version has
        learned from some of the tweets that are held out from others: these are not held out from it.
        """
        from pipeline.core.weights import load_weights

        learned = read_learned(self.store, folder) if continued else None
        people = [read_tweets(self.store, handle, learned) for handle in handles]
        training = [text for tweets in people for text in tweets.training]
        real = [text for tweets in people for text in tweets.held_out]
        self.engine.load_weights(weights)
        samples = self._samples()
        texts, unprompted = [text for _, text in samples], _unprompted(samples)
        self.network.load_state_dict(self.base_state)
        with_nats = self._with_nats(unprompted)
        ids = [ids for tweets in people for ids in tweets.held_out_ids]
        base_nats = self._nats(ids)
        load_weights(self.network, weights)
        bot_nats = self._nats(ids)
        # the first of each person: they are in the order of a hash, and were learned whatever `train.max_tokens` is
        learned_from = [text for tweets in people for text in tweets.training[: max(1, TRAINING // len(people))]]
        whole = [prompt + text for prompt, text in samples]
        training_nats = self._with_nats(learned_from).nats
        lengths, sizes = [len(one) + 1 for one in ids], characters(real)
        held = Texts(real, base_nats / sizes)
        voices = self._voices(group)
        known = np.union1d(vocabulary(training), voices.vocabulary if voices else vocabulary([]))
        return {
            "held_out": held_out(bot_nats, base_nats, lengths, sizes),
            "voice": voice(voices.classifier, handles, texts, self.base_texts, real) if voices else {"people": 1},
            "authorship": authorship(
                voices.authorship if voices else None, handles, with_nats.texts, self.base_unprompted.texts, real
            ),
            "real_or_bot": real_or_bot(with_nats, self.base_unprompted, held, training),
            "sense": sense(with_nats, self.base_unprompted, held, known),
            "copying": copying(whole, training, real),
            "memory": memory(training_nats, bot_nats / sizes, whole, training, real),
            "variety": variety(unprompted, real),
            "safety": safety(texts, self.block_list),
            "samples": {
                PROMPT: [prompt + text for prompt, text in samples if prompt == PROMPT][:_SHOWN],
                "": unprompted[:_SHOWN],
            },
        }

    def _with_nats(self, texts: Sequence[str]) -> Texts:
        """The texts with single spaces, as kept tweets have them, and their nats per character in one stream."""
        texts = [" ".join(text.split()) for text in texts]
        ids = [np.array(self.engine.vocabulary.encode(text), np.int64) for text in texts]
        return Texts(texts, self._nats(ids) / characters(texts))

    def _nats(self, tweets: Sequence[np.ndarray]) -> np.ndarray:
        """What the network spends on each tweet of a stream of tweets' token ids, in nats: [tweets]."""
        stream = packing.join(tweets, self.engine.separator)
        lengths = [len(ids) + 1 for ids in tweets]
        return per_tweet(token_losses(self.network, stream, self.block_size, self.device), lengths)

    def _voices(self, group: str | None) -> Voices | None:
        if group is not None and group not in self.voices:
            self.voices = {group: voice_groups.load(self.store, group)}
        return self.voices[group] if group else None

    def _samples(self) -> list[Sample]:
        """Samples of the weights that the engine holds: the same prompts and seeds each time."""
        from serve.engine.engine import Request
        from serve.engine.parameters import Parameters

        prompted = self.count // 2
        prompts = [""] * (self.count - prompted) + [PROMPTS[i * len(PROMPTS) // prompted] for i in range(prompted)]
        requests = []
        for seed, start in enumerate(range(0, self.count, _CHOICES)):
            for prompt in dict.fromkeys(prompts[start : start + _CHOICES]):
                n = prompts[start : start + _CHOICES].count(prompt)
                requests.append(Request(prompt, Parameters(num_return_sequences=n, seed=seed)))
        answers = self.engine.generate(requests)
        return [
            (str(request.prompt), choice.text)
            for request, choices in zip(requests, answers, strict=True)
            for choice in choices
        ]


def _unprompted(samples: Sequence[Sample]) -> list[str]:
    return [text for prompt, text in samples if not prompt]


def workers_per_gpu(base: ModelFolder) -> int:
    """How many workers measure bots on each GPU beside training.

    Four keep up with lanes that train GPT-2. Of a large model the GPU's memory has room for one beside the lanes.
    """
    return 1 if sum(map(len, base.files.values())) > _LARGE_BASE else 4


def memory_share(parameters: int, gpu_bytes: int) -> float:
    """The share of a GPU's memory that one worker may take beside training: a tenth, or what the model needs."""
    return min(1.0, max(_MEMORY_SHARE, (_BYTES_A_PARAMETER * parameters + _WORKING_BYTES) / gpu_bytes))


def choose_gpu() -> None:
    """Picks one of the node's GPUs by the process id, where this process sees several.

    A worker beside training reserves no GPU, so Ray hides none from it; this spreads the workers over them.
    """
    import torch

    if (count := torch.cuda.device_count()) > 1:  # asks the driver, without choosing a device yet
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[os.getpid() % count]
