"""Talking with a bot in the terminal."""

from pathlib import Path

import pytest

from pipeline.core.fleet import load
from pipeline.core.store import Store
from tests.support.serve_fleet import publish


@pytest.fixture
def talk(base, make_fleet, huggingtweets, monkeypatch):
    """What the command prints while somebody types these lines, then Ctrl-D."""
    path = make_fleet()
    publish(Path(Store.of(load(path)).root), base, "ada")

    def run(*lines: str) -> list[str]:
        typed = iter(lines)

        def read(prompt: str) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read)
        code, out, err = huggingtweets("chat", path, "ada")
        assert code == 0, err
        return out.removesuffix("\n").split("\n")

    return run


def test_a_bot_continues_each_line_and_says_another_text_when_asked(talk):
    hello, first, second, third = talk("Engine", "/again", "wheel", "/quit", "never read")
    assert "ada is an AI bot" in hello
    assert first.startswith("Engine") and second.startswith("Engine") and third.startswith("wheel")
    assert first != second


def test_length_and_temperature_can_be_changed_and_mistakes_are_explained(talk):
    lines = talk("/length 1", "Engine", "/length many", "/length 0", "/temperature 0.5", "/length 100000", "/hello")
    assert len(lines[1]) < len("Engine") + 15
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors[0] == "error: 'many' is not a number" and len(errors) == 3
    assert all("max_new_tokens" in line for line in errors[1:])
    assert "/quit" in lines[-1]


def test_a_bot_that_is_not_published_is_named(make_fleet, huggingtweets):
    code, _, err = huggingtweets("chat", make_fleet(name="fresh"), "ada")
    assert code == 1 and "bot ada is not published in fleet fresh" in err
