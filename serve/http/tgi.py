"""The Hugging Face form's replies, as text-generation-inference (TGI) gives them, whole and as a stream.

whole(asked, seed, answer)                 # [{"generated_text": "…"}, …]
Stream(asked, seed, sign).events(pieces, 4) # {"index": 1, "token": {…}, "generated_text": null, …}, …
"""

from collections.abc import Callable, Iterator
from typing import Any

from serve.http.schema import TextGeneration


def whole(asked: TextGeneration, seed: int | None, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The reply from what the bot said: {"choices", "prompt_tokens"}; details where they are asked for."""
    before = asked.inputs if asked.parameters.return_full_text in (None, True) else ""
    replies: list[dict[str, Any]] = []
    for choice in answer["choices"]:
        reply: dict[str, Any] = {"generated_text": before + choice["text"]}
        if asked.parameters.details:
            details = _details(choice["pieces"][-1], choice["tokens"], seed)
            reply["details"] = details | {"prefill": [], "tokens": [_token(piece) for piece in choice["pieces"]]}
        replies.append(reply)
    return replies


class Stream:
    """The events of one answer: one a token, the last with the whole text and the details.

    `sign` makes the signature of a text, which the page asks for before it draws a picture of it.
    """

    def __init__(self, asked: TextGeneration, seed: int | None, sign: Callable[[str], str]):
        self.asked, self.seed, self.sign = asked, seed, sign
        self.tokens, self.text = 0, ""

    def events(self, pieces: list[dict[str, Any]], prompt_tokens: int) -> Iterator[dict[str, Any]]:
        for piece in pieces:
            self.tokens += 1
            self.text += piece["text"]
            event = {"index": self.tokens, "token": _token(piece), "generated_text": None, "details": None}
            if piece["finish_reason"]:
                before = self.asked.inputs if self.asked.parameters.return_full_text else ""
                event["generated_text"] = before + self.text
                more = {"input_length": prompt_tokens, "signature": self.sign(self.text)}
                event["details"] = _details(piece, self.tokens, self.seed) | more
            yield event


def _token(piece: dict[str, Any]) -> dict[str, Any]:
    return {"id": piece["token"], "text": piece["text"], "logprob": piece["logprob"], "special": piece["special"]}


def _details(last: dict[str, Any], tokens: int, seed: int | None) -> dict[str, Any]:
    """TGI tells the model's own end of a text from a stop string; our line break is one of these."""
    stop = "eos_token" if last["special"] else "stop_sequence"
    reason = stop if last["finish_reason"] == "stop" else last["finish_reason"]
    return {"finish_reason": reason, "generated_tokens": tokens, "seed": seed}
