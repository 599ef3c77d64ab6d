"""Parameters that clients send by default but that change nothing here.

    without_effect({"top_p": 0.9, "metadata": {}, "min_p": 0, "seed": None})        # {"top_p": 0.9}

A value that would change the answer stays, so that the form refuses it by name.
"""

from typing import Any

# ignored whatever their value: they describe the request, or ask for what a client can do without
_IGNORED = {
    "adapter_id",
    "metadata",
    "prompt_cache_key",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "top_n_tokens",
    "typical_p",  # langchain's HuggingFaceEndpoint sends 0.95 with every request
    "user",
    "verbosity",
}
# ignored with a value that asks for no effect
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "decoder_input_details": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "grammar": ({},),
    "ignore_eos": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "modalities": (["text"],),
    "num_beams": (1,),
    "parallel_tool_calls": (True, False),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "use_beam_search": (False,),
    "use_cache": (True, False),
    "wait_for_model": (True, False),
    "watermark": (False,),
}


def without_effect(fields: Any) -> Any:
    """The fields of a JSON object without nulls (the default) and without those that change nothing.

    A `top_k` of -1, which other servers use for no limit, becomes 0; empty stop strings are left out. Anything but an
    object is returned as it is, for the form to refuse.
    """
    if not isinstance(fields, dict):
        return fields
    kept = {
        name: value
        for name, value in fields.items()
        if value is not None and name not in _IGNORED and not _is_one_of(value, _NEUTRAL.get(name, ()))
    }
    if _is_one_of(kept.get("top_k"), (-1,)):
        kept["top_k"] = 0
    for name in ("stop", "stop_sequences"):
        if isinstance(kept.get(name), str):
            kept[name] = [kept[name]]
        if isinstance(kept.get(name), list):
            kept[name] = [stop for stop in kept[name] if stop != ""]
    return kept


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether it equals one of them; True is not 1 here, nor False 0."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)
