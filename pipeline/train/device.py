"""What this process's device can do, and how much of it the process may use.

limit_gpu_memory(0.25)
precision, stage = choose_precision("auto"), choose_zero_stage("auto", parameters=124_000_000, gpu_share=0.25)
"""

import os

import torch

_ADAMW_BYTES = 16  # for each parameter: fp32 weight, gradient and two moments
_MEMORY_FOR_STATE = 0.6  # of a GPU; the rest is for activations


def choose_precision(precision: str) -> str:
    """The precision to compute in: "auto" is bf16 where a GPU has it in hardware, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def choose_zero_stage(stage: str | int, parameters: int, gpu_share: float = 1.0) -> int:
    """The ZeRO stage for a model of so many parameters on this share of a GPU.

    "auto" is 0, the fastest, where weights, gradients and AdamW's state fit, or where there is no GPU; else 3, which
    shards all of them.
    """
    if stage != "auto":
        return int(stage)
    if not torch.cuda.is_available():
        return 0
    memory = min(gpu_share, 1) * torch.cuda.get_device_properties(0).total_memory
    return 0 if _ADAMW_BYTES * parameters < _MEMORY_FOR_STATE * memory else 3


def limit_gpu_memory(share: float) -> None:
    """Limits this process to a share of its GPU's memory, and tells DeepSpeed which GPU that is."""
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(torch.cuda.current_device())  # DeepSpeed reads the device's number from it
        if share < 1:
            torch.cuda.set_per_process_memory_fraction(share)
