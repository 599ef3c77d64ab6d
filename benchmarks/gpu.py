"""Measures lanes and engine on a GPU: tokens per second, and the fixed costs of a bot.

    make bench-gpu                                      # or: python benchmarks/gpu.py lanes engine --models mini

    training  which way fills the GPU: one lane, several lanes in one process, several bots in a step (gpu_training.py);
              alone it takes at most 8 minutes for both models
    lanes     a lane's steps with separate kernel launches, as CUDA graphs (the default), and in a bare PyTorch loop
              in bf16; the time to set a lane up and to change to the next bot
    compile   the same after torch.compile
    shared    several lanes on one GPU (`train.gpus_per_worker` 1, 0.5, 0.25): tokens per second of all together
    seeds     whether a seed gives the same text alone and in a batch
    engine    the engine with and without CUDA graphs, transformers' generate() and pipeline() in bf16
    fleet     `huggingtweets run` on made-up accounts, by gpus_per_worker

Models: mini, and gpt2 (12 layers, random weights). All times are medians. It also runs without a GPU, to test it.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from engine import SAMPLING, beginnings, random_gpt2
from gpu_training import BUDGET_SECONDS, GPU, PRECISION, plan, synchronize
from gpu_training import training as measure_training

from pipeline.core import model_folder
from pipeline.core.own_code import ASSETS
from pipeline.core.weights import safetensors_bytes, snapshot
from pipeline.train.deepspeed_engine import init_single_process_group
from pipeline.train.device import limit_gpu_memory
from pipeline.train.loop import train_blocks
from pipeline.train.loss import next_token_loss
from pipeline.train.trainer import Trainer
from serve.engine.engine import Engine, Request
from serve.engine.parameters import Parameters

PARTS = ("training", "lanes", "shared", "seeds", "engine", "fleet", "compile")
Job = tuple[str, Path, int]  # a model's name, its folder, the tokens of a block


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parts", nargs="*", default=[*PARTS], help=", ".join(PARTS))
    options.add_argument("--models", default="mini,gpt2")
    options.add_argument("--steps", type=int, default=100, help="of a lane, each time")
    options.add_argument("--at", default="1,8,32,128", help="answers at once")
    options.add_argument("--tokens", type=int, default=64, help="of an answer")
    options.add_argument("--bots", type=int, default=16, help="of a fleet")
    options.add_argument("--lanes", default="1,4", help="on one GPU")
    chosen = options.parse_args()
    quiet()
    print(torch.cuda.get_device_name() if GPU else "no GPU", f"torch {torch.__version__}, {PRECISION}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpu-") as scratch:
        for name in chosen.models.split(","):
            folder = ASSETS / "mini" if name == "mini" else random_gpt2(Path(scratch) / "gpt2")
            job = name, folder, 256 if name == "mini" else 1024
            for part in chosen.parts:
                started = time.perf_counter()
                print(f"\n{part}, {name}", flush=True)
                try:
                    globals()[part](job, chosen)
                except Exception:  # one part may fail; the others still run
                    traceback.print_exc(file=sys.stdout)
                print(f"({time.perf_counter() - started:.1f} s)", flush=True)


def quiet() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Returns the median seconds of several runs; each waits for the GPU."""
    taken = []
    for _ in range(times):
        synchronize()
        started = time.perf_counter()
        work()
        synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def blocks_of(job: Job, steps: int) -> np.ndarray:
    words = json.loads((job[1] / "config.json").read_text())["vocab_size"]
    return np.random.default_rng(0).integers(0, words, (steps, job[2]))


def lane_of(job: Job, **options: Any) -> Trainer:
    init_single_process_group()
    trainer = Trainer(model_folder.load_model(job[1]), precision=PRECISION, **options)
    trainer.reset(seed=0)
    return trainer


def steps_of(trainer: Trainer, blocks: np.ndarray) -> str:
    """Trains twice and times the second pass; returns "12,345 tokens/s, 1.2 ms a step"."""
    train_blocks(trainer, blocks[:12], 1, 1e-4)
    taken = seconds(lambda: train_blocks(trainer, blocks, 1, 1e-4))
    return f"{blocks.size / taken:10,.0f} tokens/s, {1000 * taken / len(blocks):7.2f} ms a step"


def training(job: Job, chosen: argparse.Namespace) -> None:
    share = BUDGET_SECONDS / len(chosen.models.split(","))
    measure_training(job[1], job[2], plan(), time.perf_counter() + share)


def lanes(job: Job, chosen: argparse.Namespace) -> None:
    blocks = blocks_of(job, chosen.steps)
    started = time.perf_counter()
    trainer = lane_of(job)
    print(f"lane set up in {time.perf_counter() - started:.1f} s")
    graphs, trainer.graphs = trainer.graphs, None
    print(f"one by one {steps_of(trainer, blocks)}", flush=True)
    if graphs:
        trainer.graphs = graphs
        first = [once(trainer, blocks[:40]) for _ in range(2)]
        print(f"recorded   {steps_of(trainer, blocks)}", flush=True)
        trainer.graphs = None
        by_hand = once(trainer, blocks[:40])
        trainer.graphs = graphs
        print(f"losses: recorded again {difference(first[1], first[0])}, one by one {difference(by_hand, first[0])}")
    print(f"bare loop  {bare(job, blocks)}", flush=True)
    stream = blocks[:10].flatten()
    loss = seconds(lambda: trainer.loss(stream, job[2]))
    print(f"next bot: reset {1000 * seconds(lambda: trainer.reset(0)):.1f} ms, ", end="")
    print(f"held-out loss {1e6 * loss / stream.size:.1f} ms for 1,000 tokens, ", end="")
    taken = seconds(lambda: snapshot(trainer.state(), "float16"))
    weights = snapshot(trainer.state(), "float16")
    print(f"snapshot {1000 * taken:.1f} ms, as bytes {1000 * seconds(lambda: safetensors_bytes(weights)):.1f} ms")
    if GPU:
        print(f"GPU memory {torch.cuda.max_memory_reserved() / 1e9:.1f} GB")


def once(trainer: Trainer, blocks: np.ndarray) -> list[float]:
    trainer.reset(seed=0)
    return train_blocks(trainer, blocks, 1, 1e-4).losses


def difference(ours: list[float], theirs: list[float]) -> str:
    return f"{max(abs(one - other) for one, other in zip(ours, theirs, strict=True)):.2e} apart"


def compile(job: Job, chosen: argparse.Namespace) -> None:
    started = time.perf_counter()
    trainer = lane_of(job, compile=True)
    train_blocks(trainer, blocks_of(job, 12), 1, 1e-4)
    print(f"compiled in {time.perf_counter() - started:.1f} s")
    graphs, trainer.graphs = trainer.graphs, None
    print(f"compiled, one by one {steps_of(trainer, blocks_of(job, chosen.steps))}", flush=True)
    trainer.graphs = graphs
    if graphs:
        print(f"compiled, recorded   {steps_of(trainer, blocks_of(job, chosen.steps))}", flush=True)


def bare(job: Job, blocks: np.ndarray) -> str:
    """Times a bare loop with the same arithmetic; returns text like `steps_of`."""
    device = torch.device("cuda" if GPU else "cpu")
    network = model_folder.load_model(job[1]).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def work(blocks: np.ndarray) -> None:
        for block in torch.from_numpy(blocks).to(device):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=PRECISION == "bf16"):
                loss = next_token_loss(network, block[None])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    work(blocks[:12])
    taken = seconds(lambda: work(blocks))
    return f"{blocks.size / taken:10,.0f} tokens/s, {1000 * taken / len(blocks):7.2f} ms a step"


def shared(job: Job, chosen: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    for count in map(int, chosen.lanes.split(",")):
        barrier, results = context.Barrier(count), context.Queue()
        arguments = (job, chosen.steps, 1 / count, barrier, results)
        workers = [context.Process(target=beside_others, args=arguments) for _ in range(count)]
        for worker in workers:
            worker.start()
        taken = [results.get(timeout=240) for _ in workers]
        for worker in workers:
            worker.join()
        tokens = count * chosen.steps * job[2]
        print(f"{count} lanes  {tokens / max(one for one, _ in taken):10,.0f} tokens/s in all recorded, ", end="")
        print(f"{tokens / max(other for _, other in taken):10,.0f} one by one", flush=True)


def beside_others(job: Job, steps: int, share: float, barrier: Any, results: Any) -> None:
    """Runs a lane in a process of its own."""
    quiet()
    limit_gpu_memory(share)
    trainer, blocks = lane_of(job), blocks_of(job, steps)
    graphs, taken = trainer.graphs, []
    for way in (graphs, None):
        trainer.graphs = way
        train_blocks(trainer, blocks[:12], 1, 1e-4)
        synchronize()
        barrier.wait(timeout=200)
        taken.append(seconds(lambda: train_blocks(trainer, blocks, 1, 1e-4), times=1))
    results.put(taken)


def seeds(job: Job, chosen: argparse.Namespace) -> None:
    engine = Engine(job[1])
    long = "So it goes on and on and on and on. " * 6

    def request(seed: int) -> Request:
        return Request(beginnings(seed + 1)[-1], Parameters(seed=seed, max_new_tokens=60, min_new_tokens=60, stop=[]))

    alone = [engine.generate([request(seed)])[0][0].text for seed in range(24)]
    others = [Request(long, Parameters(temperature=1.5, seed=seed)) for seed in range(5)]
    crowd = [*others, *(request(seed) for seed in range(24)), *others]
    together = [choices[0].text for choices in engine.generate(crowd)][5:29]
    again = [engine.generate([request(seed)])[0][0].text for seed in range(24)]
    same = [sum(one == other for one, other in zip(alone, texts, strict=True)) for texts in (together, again)]
    print(f"the same text: {same[0]} of 24 in a batch with others, {same[1]} of 24 alone again; e.g. {alone[0][:60]!r}")
    engine._graphs = None
    by_hand = [choices[0].text for choices in engine.generate([request(seed) for seed in range(24)])]
    print(f"without graphs: {sum(one == other for one, other in zip(alone, by_hand, strict=True))} of 24")


def engine(job: Job, chosen: argparse.Namespace) -> None:
    counts = [int(count) for count in chosen.at.split(",")]
    print("| tokens per second by batch size |" + "".join(f" {count} |" for count in counts))
    ways: dict[str, Callable[[int], Callable[[], int] | None]] = {
        "pipeline(), one after another": lambda count: by_pipeline(job[1], count, chosen.tokens),
        "generate(), a static batch": lambda count: by_generate(job[1], count, chosen.tokens),
        "engine without graphs": lambda count: by_engine(job[1], count, chosen.tokens, graphs=False),
        "engine": lambda count: by_engine(job[1], count, chosen.tokens),
    }
    for name, way in ways.items():
        cells = []
        for count in counts:
            answer = way(count)
            if answer is None:
                cells.append("")
                continue
            made = answer()  # warm-up
            cells.append(f"{made / seconds(answer):,.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def by_engine(folder: Path, count: int, tokens: int, graphs: bool = True) -> Callable[[], int]:
    ours = Engine(folder, max_batch=max(32, count))
    if not graphs:
        ours._graphs = None

    def answer() -> int:
        parameters = Parameters(**SAMPLING, max_new_tokens=tokens, min_new_tokens=tokens)
        answers = ours.generate([Request(prompt, parameters) for prompt in beginnings(count)])
        return sum(choice.tokens for choices in answers for choice in choices)

    return answer


def by_generate(folder: Path, count: int, tokens: int) -> Callable[[], int]:
    network, tokenizer = model_folder.load(folder)
    network.to("cuda" if GPU else "cpu", torch.bfloat16 if GPU else torch.float32).eval()
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token or "<|endoftext|>", "left"
    texts = ["<|endoftext|>" + prompt for prompt in beginnings(count)]

    @torch.inference_mode()
    def answer() -> int:
        prompts = tokenizer(texts, return_tensors="pt", padding=True).to(network.device)
        lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": tokenizer.pad_token_id}
        made = network.generate(**prompts, **SAMPLING, **lengths)
        return int(made[:, prompts["input_ids"].shape[1] :].numel())

    return answer


def by_pipeline(folder: Path, count: int, tokens: int) -> Callable[[], int] | None:
    if count > 1:  # it answers one after another: a larger batch is no faster
        return None
    dtype = torch.bfloat16 if GPU else torch.float32
    ask = transformers.pipeline("text-generation", model=str(folder), device=0 if GPU else "cpu", dtype=dtype)

    def answer() -> int:
        for prompt in beginnings(count):
            ask("<|endoftext|>" + prompt, max_new_tokens=tokens, min_new_tokens=tokens, **SAMPLING)
        return count * tokens

    return answer


def fleet(job: Job, chosen: argparse.Namespace) -> None:
    from fleet import accounts, write_fleet

    people = accounts([str(ASSETS / "sample")], chosen.bots, 200 if job[0] == "mini" else 1000)
    for count in map(int, chosen.lanes.split(",")):
        with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
            path = write_fleet(Path(scratch), people)
            settings = [f"base_model={job[1]}", f"train.gpus_per_worker={1 / count}"]
            words = [sys.executable, "-m", "pipeline", "run", str(path), "--json", "--debug"]
            started = time.perf_counter()
            done = subprocess.run(
                words + [word for setting in settings for word in ("--set", setting)],
                capture_output=True,
                text=True,
                cwd=Path(__file__).parent.parent,
                timeout=240,
            )
            wall = time.perf_counter() - started
            if not done.stdout:
                raise RuntimeError(done.stderr[-6000:])
            tell(json.loads(done.stdout), count, wall)


def tell(report: dict[str, Any], count: int, wall: float) -> None:
    rows = [row for row in report["bots"] if row["status"] == "trained"]
    for row in report["bots"]:
        if row not in rows:
            print(f"{row['bot']} {row['status']}: {row['reason']}", str(row.get("log", ""))[-1500:])
    steps = ", ".join(f"{name} {taken:.1f}" for name, taken in report["seconds"].items())
    print(f"{count} lanes: {len(rows)} bots in {wall:.1f} s ({steps})", end="")
    if rows:
        held = [row["metrics"]["held_out"] for row in rows]
        losses = [f"{statistics.mean(one[name] for one in held):.3f}" for name in ("base_loss", "loss")]
        taken = [statistics.median(row["seconds"][name] for row in rows) for name in ("train", "handover", "evaluate")]
        training = statistics.median(row["metrics"]["train"]["seconds"] for row in rows)
        print(
            f"; a bot: {taken[0]:.2f} s in its lane, {training:.2f} of it steps, {taken[1]:.2f} until the next one,",
            end="",
        )
        print(f" evaluated in {taken[2]:.2f} s; held-out loss {losses[0]} → {losses[1]}", end="")
    print(flush=True)


if __name__ == "__main__":
    main()
