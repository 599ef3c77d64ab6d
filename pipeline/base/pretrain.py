"""Makes a base model from many people's text: a byte-level BPE, then a GPT-2, over all workers.

    huggingtweets pretrain examples/base_model/mini.yaml

Ray Data reads, cleans and tokenises; training.py trains. The same command continues where it was stopped. The result is
a plain model folder with a card.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
import ray.train

from pipeline import tweets
from pipeline.base.training import BaseMetrics, TrainedBase, train_model
from pipeline.base.worker import RunSettings
from pipeline.core import model_folder
from pipeline.core.errors import UserError
from pipeline.core.fleet import Fleet
from pipeline.core.model_folder import SEPARATOR, ModelFolder
from pipeline.core.own_code import ASSETS
from pipeline.core.progress import Progress
from pipeline.core.settings import Pretrain
from pipeline.core.store import Store, write_folder_at
from pipeline.core.templates import render
from pipeline.core.weights import weight_bytes
from pipeline.prepare.dataset import kept_texts

_TOKENIZER_TEXTS = 500_000  # tweets are enough to learn a vocabulary from


def pretrain(fleet: Fleet, progress: Progress) -> BaseMetrics:
    """Trains the base that `fleet.pretrain` describes on `fleet.tweets`, and writes it to `pretrain.out`.

    Returns its metrics. Raises UserError if no text is kept.
    """
    settings = fleet.pretrain
    files = tweets.files_of(fleet)
    progress.start("read", 1, f"{len(files)} files")
    texts = kept_texts([file for file in files if file.problem is None], fleet.filters).materialize()
    if texts.count() == 0:
        raise UserError(f"pretrain: no text was kept of {', '.join(source.path for source in fleet.tweets)}")
    tokenizer = ray.get(ray.remote(_learn_bpe).remote(texts.limit(_TOKENIZER_TEXTS), settings.vocab_size))
    encode = {"tokenizer": tokenizer, "share": settings.holdout}
    tokens = texts.map_batches(_encode, fn_kwargs=encode, batch_format="pyarrow").materialize()
    held_out, training = (tokens.filter(expr=f"held_out == {held}").materialize() for held in (True, False))
    counts = {True: int(held_out.sum("count") or 0), False: int(training.sum("count") or 0)}
    progress.advance(f"{counts[False]:,} tokens to train on, {counts[True]:,} held out")
    base = _base_folder(settings, tokenizer)
    run = RunSettings(
        name=f"pretrain-{_identity(settings, tokenizer, counts)}",
        separator=base.separator,
        **settings.model_dump(include=set(RunSettings.__annotations__)),
    )
    trained = train_model(run, base, training, held_out, Store.of(fleet), progress)
    _write_base(fleet, base, trained)
    return trained.metrics


def _identity(settings: Pretrain, tokenizer: bytes, counts: dict[bool, int]) -> str:
    """Names a run by what it makes, so that only the same run continues from its checkpoints."""
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
    """Texts as token ids; a text is held out by its hash, so that every run chooses the same."""
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


def _base_folder(settings: Pretrain, tokenizer: bytes) -> ModelFolder:
    """The base's model folder without its weights: configuration and tokenizer."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.decode()),
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        unk_token=SEPARATOR,
        model_max_length=settings.block_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        wrapped.save_pretrained(folder)
        _config(settings).save_pretrained(folder)
        return ModelFolder.read(Path(folder))


def _config(settings: Pretrain) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=settings.vocab_size,
        n_positions=settings.block_size,
        n_embd=settings.n_embd,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        architectures=["GPT2LMHeadModel"],
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,  # dropout slows a small model's learning and a CPU's steps alike
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _write_base(fleet: Fleet, base: ModelFolder, trained: TrainedBase) -> None:
    """Writes the model folder at `pretrain.out`, with a card that says how good the base is."""
    settings = fleet.pretrain
    files = base.bot_files(weight_bytes(trained.model.state_dict(), fleet.publish.dtype))
    if settings.train_defaults:
        files[model_folder.DEFAULTS] = (json.dumps(settings.train_defaults, indent=2) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        samples = _samples(ModelFolder(files).write(Path(folder)))
    facts = {"fleet": fleet.fleet, "settings": settings, "metrics": trained.metrics, "prompts": samples}
    card = render(ASSETS / "base_card.md.j2", parameters=trained.model.num_parameters(), **facts)
    files["README.md"] = card.encode()
    write_folder_at(settings.out, files)


def _samples(folder: Path) -> dict[str, list[str]]:
    """What the base writes after a few prompts."""
    from serve.engine.engine import Engine, Request
    from serve.engine.parameters import Parameters

    prompts = ["My dream is", "Today I", "The best thing about"]
    requests = [Request(prompt, Parameters(num_return_sequences=3, seed=0)) for prompt in prompts]
    answers = Engine(folder).generate(requests)
    return {
        prompt: [prompt + choice.text for choice in answer] for prompt, answer in zip(prompts, answers, strict=True)
    }
