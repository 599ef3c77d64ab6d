"""Makes a base model from many people's text: a byte-level BPE, then a GPT-2, over all workers.

    huggingtweets pretrain examples/base_model/mini.yaml

Ray Data reads, cleans and tokenises; each worker of one Ray Train run streams its share, packs it into
blocks and trains under DeepSpeed (data-parallel). A checkpoint every few minutes: the same command goes on
where it was stopped. The result is a plain model folder with a card of its own.
"""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.train.torch import TorchTrainer

from pipeline import finetune, model, tweets
from pipeline.clean import SEPARATOR
from pipeline.errors import UserError
from pipeline.fleet import Fleet
from pipeline.prepare import kept_texts
from pipeline.progress import Progress
from pipeline.settings import Pretrain
from pipeline.store import Store, resolve

_TOKENIZER_TEXTS = 500_000  # tweets are enough to learn a vocabulary from
_LOG_STEPS = 25
_HELD_OUT_TOKENS = 200_000  # at most, for the perplexity


def pretrain(fleet: Fleet, progress: Progress) -> dict[str, Any]:
    """Trains the base that `fleet.pretrain` describes on `fleet.tweets`; returns its metrics."""
    settings, store = fleet.pretrain, Store.of(fleet)
    files = tweets.find(fleet.tweets)
    progress.start("read", 1, f"{len(files)} files")
    texts = kept_texts([file for file in files if file.problem is None], fleet.filters).materialize()
    if texts.count() == 0:
        raise UserError(f"pretrain: no text was kept of {', '.join(source.path for source in fleet.tweets)}")
    tokenizer = ray.get(ray.remote(_learn_bpe).remote(texts.limit(_TOKENIZER_TEXTS), settings.vocab_size))
    encode = {"tokenizer": tokenizer, "share": settings.holdout}
    tokens = texts.map_batches(_encode, fn_kwargs=encode, batch_format="pyarrow").materialize()
    held_out, training = (tokens.filter(expr=f"held_out == {held}").materialize() for held in (True, False))
    counts = {True: int(held_out.sum("count") or 0), False: int(training.sum("count") or 0)}
    steps = max(1, counts[False] * settings.epochs // (settings.block_size * settings.batch_size * settings.workers))
    progress.advance(f"{counts[False]:,} tokens to train on, {counts[True]:,} held out")
    shown = ray.remote(_Steps).options(num_cpus=0).remote()
    loop = {
        "settings": settings.model_dump(),
        "steps": steps,
        # a Dataset each, not Ray Train's common split: there every worker waits at the end of an epoch for
        # the others, which wait in the middle of a step for it
        "shards": training.split(settings.workers, equal=True),
        "held_out": held_out,
        "shown": shown,
    }
    trainer = TorchTrainer(
        _worker,
        train_loop_config=loop,
        scaling_config=_scaling(settings.workers),
        run_config=ray.train.RunConfig(
            name=f"pretrain-{_identity(settings, tokenizer, counts)}",
            storage_path=store.path("work"),
            storage_filesystem=store.filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    progress.start("pretrain", steps, f"{steps:,} steps on {settings.workers} workers")
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(trainer.fit)
        while not fitting.done():
            _show(shown, progress)
            time.sleep(1)
        result = fitting.result()
    if result.checkpoint is None:
        raise UserError(f"pretrain: the run ended without a model; see {store.path('work')}")
    metrics = {"training_tokens": counts[False], "steps": steps} | dict(result.metrics or {})
    with result.checkpoint.as_directory() as folder:
        _write_base(fleet, Path(folder), tokenizer, metrics)
    return metrics


class _Steps:
    """What rank 0 tells the driver while it trains."""

    def __init__(self) -> None:
        self.latest: tuple[int, str] = (0, "")

    def tell(self, step: int, text: str) -> None:
        self.latest = (step, text)

    def ask(self) -> tuple[int, str]:
        return self.latest


def _show(shown: Any, progress: Progress) -> None:
    step, text = ray.get(shown.ask.remote())
    if step > progress.done:
        progress.advance(text, count=step - progress.done)


def _scaling(workers: int) -> ray.train.ScalingConfig:
    gpus = ray.cluster_resources().get("GPU", 0)
    return ray.train.ScalingConfig(
        num_workers=workers,
        use_gpu=gpus >= 1,
        # less than a core each, so that the tasks that feed the workers find room on a full machine
        resources_per_worker={"CPU": 0.5} | ({"GPU": 1} if gpus >= 1 else {}),
    )


def _identity(settings: Pretrain, tokenizer: bytes, counts: dict[bool, int]) -> str:
    """Names a run by what it makes, so that only the same run goes on from its checkpoints."""
    made_of = [settings.model_dump(exclude={"out", "checkpoint_minutes"}), counts[False], counts[True]]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode() + tokenizer).hexdigest()[:12]


def _learn_bpe(texts: "ray.data.Dataset", vocab_size: int) -> bytes:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    batches = texts.iter_batches(batch_size=4096, batch_format="pyarrow")
    tokenizer.train_from_iterator((cast(Any, batch)["text"].to_pylist() for batch in batches), trainer)
    return tokenizer.to_str().encode()


def _encode(batch: pa.Table, tokenizer: bytes, share: float) -> pa.Table:
    """Texts as token ids; a text is held out by its hash, so the choice is the same at each run."""
    from tokenizers import Tokenizer

    texts = batch["text"].to_pylist()
    ids = [encoding.ids for encoding in Tokenizer.from_str(tokenizer.decode()).encode_batch(texts)]
    hashes = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64 for text in texts]
    return pa.table(
        {
            "tokens": pa.array(ids, pa.list_(pa.int32())),
            "count": pa.array([len(one) + 1 for one in ids], pa.int64()),
            "held_out": pa.array([value < share for value in hashes], pa.bool_()),
        }
    )


def _worker(loop: dict[str, Any]) -> None:
    """One worker of the Ray Train run."""
    import torch
    from transformers import GPT2LMHeadModel

    settings = Pretrain(**loop["settings"])
    steps, rank = loop["steps"], ray.train.get_context().get_world_rank()
    torch.manual_seed(settings.seed)  # the same start on every worker
    network = GPT2LMHeadModel(_config(settings))
    trainer = finetune.Trainer(
        network,
        precision=finetune.resolve_precision(settings.precision),
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.95),
    )
    start = _restore(trainer)
    batches = _batches(loop["shards"][rank], settings, seed=settings.seed + start)
    saved = shown = time.monotonic()
    losses: list[torch.Tensor] = []
    for step in range(start, steps):
        rate = finetune.cosine(step, steps, settings.learning_rate, settings.warmup_steps)
        losses.append(trainer.step(next(batches), rate))
        if rank == 0 and (step + 1) % _LOG_STEPS == 0:
            loss, seconds = float(torch.stack(losses[-_LOG_STEPS:]).mean()), time.monotonic() - shown
            speed = _LOG_STEPS * settings.batch_size * settings.workers * settings.block_size / seconds
            loop["shown"].tell.remote(step + 1, f"loss {loss:.3f}, {speed:,.0f} tokens/s")
            shown = time.monotonic()
        due = torch.tensor(float(time.monotonic() - saved > settings.checkpoint_minutes * 60))
        if (step + 1) % _LOG_STEPS == 0:
            torch.distributed.broadcast(due, src=0)  # rank 0's clock decides for all
            if due:
                _checkpoint(trainer, step + 1, {"loss": float(losses[-1])}, rank)
                saved = time.monotonic()
    loss = trainer.loss(_stream(loop["held_out"])[:_HELD_OUT_TOKENS], settings.block_size)
    _checkpoint(trainer, steps, {"held_out_loss": loss, "perplexity": math.exp(loss)}, rank)


def _config(settings: Pretrain) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=settings.vocab_size,
        n_positions=settings.block_size,
        n_embd=settings.n_embd,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,  # dropout slows a small model's learning and a CPU's steps alike
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _batches(shard: "ray.data.Dataset", settings: Pretrain, seed: int) -> "Iterator[Any]":
    """A worker's share of the tokens, shuffled anew each time round, as [batch, block] without end."""
    import torch

    need = settings.batch_size * settings.block_size
    waiting = np.zeros(0, dtype=np.int64)
    while True:
        for batch in shard.iter_batches(
            batch_size=1024, local_shuffle_buffer_size=30_000, local_shuffle_seed=seed, batch_format="pyarrow"
        ):
            waiting = np.concatenate([waiting, _joined(batch)])
            while len(waiting) >= need:
                yield torch.from_numpy(waiting[:need].reshape(settings.batch_size, settings.block_size))
                waiting = waiting[need:]
        seed += 1


def _stream(texts: "ray.data.Dataset") -> np.ndarray:
    """All tokens of the texts, a separator before, between and after them; the same whatever order they come in."""
    batches = texts.iter_batches(batch_format="pyarrow")
    tokens = [np.asarray(ids) for batch in batches for ids in cast(Any, batch)["tokens"].to_numpy()]
    return finetune.joined(sorted(tokens, key=lambda ids: ids.tobytes()), 0)


def _joined(batch: pa.Table) -> np.ndarray:
    """A batch's texts in one stream, each with the separator (token 0) after it."""
    return finetune.joined([np.asarray(ids) for ids in batch["tokens"].to_numpy()], 0)[1:]


def _checkpoint(trainer: finetune.Trainer, step: int, metrics: dict[str, float], rank: int) -> None:
    """Reports rank 0's weights, optimizer state and step; a barrier for all workers."""
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder), step)
        checkpoint = ray.train.Checkpoint.from_directory(folder) if rank == 0 else None
        ray.train.report(metrics, checkpoint=checkpoint)


def _restore(trainer: finetune.Trainer) -> int:
    """The step to go on from: 0 without a checkpoint."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return trainer.restore(Path(folder))


def _write_base(fleet: Fleet, checkpoint: Path, tokenizer: bytes, metrics: dict[str, Any]) -> None:
    """The model folder at `pretrain.out`, from the last checkpoint, with a card that says how good it is."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    settings = fleet.pretrain
    network = GPT2LMHeadModel(_config(settings))
    network.load_state_dict(load_file(checkpoint / "weights.safetensors"))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.decode()),
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        unk_token=SEPARATOR,
        model_max_length=settings.block_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        wrapped.save_pretrained(folder)
        network.config.save_pretrained(folder)
        weights = model.weight_bytes(network.state_dict(), fleet.publish.dtype)
        files = model.bot_files(model.read_files(Path(folder)), weights, separator=0)
        if settings.train_defaults:
            files[model.DEFAULTS] = (json.dumps(settings.train_defaults, indent=2) + "\n").encode()
        samples = _samples(model.write_files(files, Path(folder)))
    facts = {"parameters": network.num_parameters(), "fleet": fleet.fleet, "settings": settings, "prompts": samples}
    files["README.md"] = model.render("base_card.md.j2", metrics=metrics, **facts).encode()
    filesystem, out = resolve(settings.out)
    parent, _, name = out.rpartition("/")
    Store(filesystem, parent).write_folder(name, files)


def _samples(folder: Path) -> dict[str, list[str]]:
    """What the base says to a few beginnings."""
    from serve.engine import Engine, Request
    from serve.schema import Parameters

    prompts = ["My dream is", "Today I", "The best thing about"]
    requests = [Request(prompt, Parameters(num_return_sequences=3, seed=0)) for prompt in prompts]
    answers = Engine(folder).generate(requests)
    return {
        prompt: [prompt + choice.text for choice in answer] for prompt, answer in zip(prompts, answers, strict=True)
    }
