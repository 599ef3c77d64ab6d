"""Trains one user's bot with the original recipe, the Hugging Face Trainer in fp32, as a process of its own.

    python benchmarks/original.py FLEET_FOLDER HANDLE BASE_FOLDER OUT_FOLDER

It trains on the same blocks as a lane, in the same order, so that losses can be compared. It writes the model folder
and prints the held-out loss as JSON. `fleet.py` times it.
"""

import json
import sys
from pathlib import Path

import torch
from pyarrow import fs
from transformers import Trainer, TrainingArguments

from pipeline.core import model_folder
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.prepare.kept_tweets import load_tweets
from pipeline.train import packing
from pipeline.train.loss import next_token_loss, stream_loss


class InOrder(Trainer):
    def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


def main(folder: str, handle: str, base: str, out: str) -> None:
    torch.set_num_threads(1)
    network, tokenizer = model_folder.load(Path(base))
    separator = model_folder.separator_id(tokenizer)
    settings = Train(**json.loads((Path(base) / model_folder.DEFAULTS).read_text()))
    tweets, held = load_tweets(Store(fs.LocalFileSystem(), folder), handle)
    blocks = packing.pack([tweets], separator, settings.block_size, settings.epochs, settings.seed)
    arguments = TrainingArguments(
        output_dir=out,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        num_train_epochs=1,  # the blocks are already those of all epochs
        per_device_train_batch_size=settings.batch_size,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=5,  # as in the original's notebook
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
    )
    items = [{"input_ids": block, "labels": block} for block in torch.from_numpy(blocks)]
    trainer = InOrder(model=network, args=arguments, train_dataset=items)  # type: ignore[arg-type]
    trainer.train()
    network.eval()
    stream = packing.join(held, separator)
    loss = stream_loss(lambda blocks: next_token_loss(network, blocks), stream, settings.block_size, network.device)
    trainer.save_model(out)
    tokenizer.save_pretrained(out)
    print(json.dumps({"loss": loss}))


if __name__ == "__main__":
    main(*sys.argv[1:])
