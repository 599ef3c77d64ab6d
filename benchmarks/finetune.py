"""What a warm lane costs above the arithmetic: ours against a bare PyTorch loop, in turn, in one process.

    make bench                                      # or: python benchmarks/finetune.py --bots 6

Both train the same bots of the bundled sample on mini, on one core in fp32: the reference with fused AdamW and
nothing else, a fresh copy of the base for each bot; ours with DeepSpeed, reset in place. Printed are the
medians over the bots, the ratio pair by pair, and what passes between two bots.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from pipeline import finetune, tweets
from pipeline.clean import clean
from pipeline.model import ASSETS, load, separator_id
from pipeline.settings import TweetSource


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bots", type=int, default=4, help="pairs to time")
    options.add_argument("--epochs", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    finetune.single_process_group()
    network, tokenizer = load(ASSETS / "mini")
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainer = finetune.Trainer(load(ASSETS / "mini")[0])
    people = [tokens(file, tokenizer) for file in tweets.find([TweetSource(path=str(ASSETS / "sample"))])]
    bare, ours, between = [], [], []
    for bot in range(chosen.bots):
        person = people[bot % len(people)]
        blocks = finetune.packed([person], separator_id(tokenizer), 256, chosen.epochs, seed=bot)
        bare.append(bare_loop(network, base, blocks) / len(blocks))
        started = time.perf_counter()
        trainer.reset(seed=bot)
        between.append(time.perf_counter() - started)
        ours.append(finetune.train(trainer, blocks, 1, 1e-3).seconds / len(blocks))
        print(f"bot {bot + 1}: bare {bare[-1] * 1e3:.0f} ms a step, ours {ours[-1] * 1e3:.0f} ms", flush=True)
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    print(f"bare loop   {statistics.median(bare) * 1e3:8.1f} ms a step (median)")
    print(f"warm lane   {statistics.median(ours) * 1e3:8.1f} ms a step (median)")
    print(f"ratio       {statistics.median(ratios):8.2f} (median of pairs; {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"reset       {statistics.median(between) * 1e3:8.1f} ms a bot")


def tokens(file: tweets.TweetFile, tokenizer: object) -> list[np.ndarray]:
    records = (record for record in tweets.read(file) if isinstance(record, tweets.Record))
    kept = [text for verdict, text in (clean(record.text, record.retweet) for record in records) if verdict == "kept"]
    return [np.array(tokenizer.encode(text), dtype=np.int32) for text in kept]  # type: ignore[attr-defined]


def bare_loop(network: torch.nn.Module, base: dict[str, torch.Tensor], blocks: np.ndarray) -> float:
    """Seconds for the same optimizer steps and nothing else."""
    network.load_state_dict(base)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0, fused=True)
    started = time.perf_counter()
    for step, block in enumerate(torch.from_numpy(blocks)):
        optimizer.param_groups[0]["lr"] = finetune.cosine(step, len(blocks), 1e-3)
        optimizer.zero_grad()
        loss = finetune.next_token_loss(network, block[None])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
