"""DeepSpeed for models that train one after another in one process: set-up, reset, and what ZeRO has split up.

init_single_process_group()
engine = initialize(model, optimizer, zero_stage=0, precision="fp32", clip_norm=1.0)
reset(engine)                                  # moments, gradients and step counts, in place
with gathered_parameters(engine):              # whole weights on every worker, under ZeRO 3 too
    state = engine.module.state_dict()
"""

import os
from contextlib import AbstractContextManager
from typing import Any

import torch


def initialize(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, zero_stage: int, precision: str, clip_norm: float
) -> Any:
    """A DeepSpeed engine around model and optimizer. Needs a process group.

    `clip_norm` limits the norm of the gradient; 0 leaves clipping to the caller.
    """
    config = {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed requires one; `Trainer.step` sets the real size
        "gradient_clipping": clip_norm,
        "zero_optimization": {"stage": zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "timers": {"throughput": {"enabled": False}},  # it would wait for the GPU in each step
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
    }
    engine, *_ = _deepspeed().initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    if torch.distributed.get_world_size() == 1 and zero_stage == 0:
        engine.enable_backward_allreduce = False  # one process alone would copy all its gradients twice for it
    return engine


def adamw(engine: Any) -> torch.optim.Optimizer:
    """The optimizer that was given to `initialize`, without what ZeRO wrapped around it."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def reset(engine: Any) -> None:
    """Sets AdamW's moments, the gradients and the engine's step counts to zero."""
    for moments in adamw(engine).state.values():
        for value in moments.values():
            value.zero_()  # in place: a CUDA graph holds its address
    engine.zero_grad()
    engine.global_steps = engine.micro_steps = engine.global_samples = 0
    engine.skipped_steps = 0


def refresh_master_weights(engine: Any) -> None:
    """Copies the model's weights into ZeRO's own fp32 copy, after they were changed from outside."""
    if hasattr(engine.optimizer, "refresh_fp32_params"):
        engine.optimizer.refresh_fp32_params()


def optimized_tensors(engine: Any) -> list[torch.Tensor]:
    """The tensors that AdamW updates on this worker: the model's own, or under ZeRO its part of them in fp32."""
    for partitions in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):
        if hasattr(engine.optimizer, partitions):
            return list(getattr(engine.optimizer, partitions))
    return [parameter for parameter in engine.module.parameters() if parameter.requires_grad]


def gathered_parameters(engine: Any) -> AbstractContextManager[Any]:
    """Brings whole weights to every worker inside the block, and writes rank 0's changes back.

    Only ZeRO 3 splits weights; at other stages the block changes nothing.
    """
    parameters = list(engine.module.parameters()) if engine.zero_optimization_stage() == 3 else []
    return _deepspeed().zero.GatheredParameters(parameters, modifier_rank=0, enabled=bool(parameters))


def init_single_process_group() -> None:
    """Starts a process group of this process alone; ends the group it was in before."""
    if torch.distributed.is_initialized():
        if torch.distributed.get_world_size() == 1:
            return
        torch.distributed.destroy_process_group()
    # DeepSpeed reads the environment as well
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    os.environ["LOCAL_RANK"] = str(torch.cuda.current_device()) if torch.cuda.is_available() else "0"
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def _deepspeed() -> Any:
    """DeepSpeed, imported late: the import takes seconds, and reads DS_ACCELERATOR."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    # compiling its shared-memory collectives takes 40 s on a machine's first use, and no lane needs them
    __compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
