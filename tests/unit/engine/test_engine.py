"""The engine generates what transformers generates, whatever else is in the batch."""

import asyncio
import json
import shutil
import threading

import pytest
import torch
from pyarrow.fs import LocalFileSystem
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pipeline.core.cuda_graph import CudaGraphs
from pipeline.core.settings import Serve
from pipeline.core.store import Store
from pipeline.core.word_runs import runs_file
from serve.deployments.disk_cache import Cache
from serve.deployments.endpoint import BotEndpoint, engine_options
from serve.engine.engine import Engine
from serve.engine.parameters import Parameters
from serve.engine.request import DamagedModel, Piece, Request
from serve.engine.text import Text
from serve.engine.thread import EngineThread
from tests.support import fake_graphs

PROMPT = "Soup and bread"


@pytest.fixture(scope="module")
def engine(base):
    return Engine(base, max_batch=6)


def said(engine: Engine, prompt: str = PROMPT, **parameters: object) -> list[str]:
    return [choice.text for choice in engine.generate([Request(prompt, Parameters(**parameters))])[0]]


def test_greedy_decoding_equals_transformers(base, engine):
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([[engine.separator, *engine.vocabulary.encode(PROMPT)]])
    greedy = {"do_sample": False, "max_new_tokens": 20, "min_new_tokens": 20}
    expected = model.generate(ids, pad_token_id=0, **greedy)[0, ids.shape[1] :]
    choice = engine.generate([Request(PROMPT, Parameters(**greedy))])[0][0]
    assert choice.text == engine.vocabulary.decode(expected.tolist()).split("\n")[0].rstrip("\ufffd")


def test_a_seeded_answer_is_the_same_alone_and_in_any_batch(engine):
    alone = said(engine, seed=5, num_return_sequences=2)
    others = [Request("River barge", Parameters(top_k=0, temperature=2.0)) for _ in range(7)]
    same = Request(PROMPT, Parameters(seed=5, num_return_sequences=2))
    answers = engine.generate([*others[:3], same, *others[3:]])
    assert [choice.text for choice in answers[3]] == alone
    assert alone[0] != alone[1]


def test_other_seeds_say_other_things(engine):
    assert len({said(engine, seed=seed)[0] for seed in range(8)}) > 4


def test_more_choices_than_the_batch_holds_all_come(engine):
    choices = said(engine, num_return_sequences=16, seed=1)
    assert len(choices) == 16 and choices[:3] == said(engine, num_return_sequences=3, seed=1)


def preferring(engine: Engine, token: int, avoiding: str = "") -> Engine:
    """The engine, whose model now finds `token` the likeliest everywhere, and tokens with `avoiding` the least."""
    network = engine.network
    avoided = [i for i in range(500) if avoiding and avoiding in engine.vocabulary.name(i)]

    class Biased:
        layers, positions, bytes = network.layers, network.positions, network.bytes

        def __call__(self, *arguments):
            logits = network(*arguments).clone()
            logits[:, avoided] -= 1000
            logits[:, token] += 100
            return logits

    engine.network = Biased()
    return engine


def test_lengths_are_kept(base, engine):
    assert engine.generate([Request(PROMPT, Parameters(max_new_tokens=1))])[0][0].tokens == 1
    ending = preferring(Engine(base), engine.separator, avoiding="\n")

    def lengths(**parameters):
        choice = ending.generate([Request(PROMPT, Parameters(do_sample=False, **parameters))])[0][0]
        return choice.tokens, choice.finish_reason

    assert lengths(min_new_tokens=0) == (1, "stop")
    assert lengths(min_new_tokens=7) == (8, "stop")  # seven of the text, then the end
    assert lengths(min_new_tokens=7, max_new_tokens=7) == (7, "length")
    default = 10 - len(engine.vocabulary.encode(PROMPT)) - 1
    assert lengths() == (default + 1, "stop") and default > 0


def test_every_special_token_ends_a_text_and_none_is_part_of_it(base, tmp_path):
    from tokenizers import Tokenizer

    folder = shutil.copytree(base, tmp_path / "chat")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    token = tokenizer.encode("S", add_special_tokens=False).ids[0]
    data = json.loads((folder / "tokenizer.json").read_text())
    text = tokenizer.id_to_token(token)
    data["added_tokens"].append(
        {"id": token, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        | {"normalized": False}
    )
    (folder / "tokenizer.json").write_text(json.dumps(data))
    ending = preferring(Engine(folder), token, avoiding="\n")
    assert ending.vocabulary.ends == {token, ending.separator}
    pieces: list[Piece] = []
    parameters = Parameters(do_sample=False, min_new_tokens=3)
    choice = ending.generate([Request("Moon", parameters, on_piece=pieces.append)])[0][0]
    assert (choice.tokens, choice.finish_reason) == (4, "stop") and text not in choice.text
    assert [piece.special for piece in pieces] == [False, False, False, True]


def test_the_tokens_of_a_prompt_are_reported_with_their_log_probabilities(base, engine):
    pieces: list[Piece] = []
    parameters = Parameters(seed=5, max_new_tokens=6, min_new_tokens=6)
    request = Request(PROMPT, parameters, pieces.append, logprobs=3, prompt_pieces=True)
    (choice,) = engine.generate([request, Request("River barge")])[0]
    assert choice.text == said(engine, seed=5, max_new_tokens=6, min_new_tokens=6)[0] and choice.tokens == 6
    prompt = [piece for piece in pieces if piece.from_prompt]
    ids = engine.vocabulary.encode(PROMPT)
    assert [piece.token for piece in prompt] == ids and "".join(piece.text for piece in prompt) == PROMPT
    logits = AutoModelForCausalLM.from_pretrained(base)(torch.tensor([[engine.separator, *ids]])).logits[0]
    expected = logits.log_softmax(-1)[range(len(ids)), ids]
    assert [piece.logprob for piece in prompt] == pytest.approx(expected.tolist(), abs=1e-4)
    assert all(piece.top[piece.name] == piece.logprob and 3 <= len(piece.top) <= 4 for piece in pieces)


def test_a_prompt_alone_is_scored_as_text_or_as_tokens(engine):
    ids = engine.vocabulary.encode(PROMPT)
    scored = []
    for prompt in (PROMPT, tuple(ids)):
        pieces: list[Piece] = []
        request = Request(prompt, on_piece=pieces.append, logprobs=0, prompt_pieces=True, only_prompt=True)
        (choice,) = engine.generate([request])[0]
        assert (choice.text, choice.tokens, choice.finish_reason) == ("", 0, "length")
        assert pieces[-1].finish_reason == "length" and [piece.token for piece in pieces] == ids
        scored.append([piece.logprob for piece in pieces])
    assert scored[0] == scored[1]
    assert not engine.busy
    for wrong in ("", (engine.network.tokens,), (-1,)):
        with pytest.raises(ValueError, match="prompt"):
            engine.generate([Request(wrong, only_prompt=True)])


def test_a_part_of_a_character_is_named_by_its_bytes(engine):
    vocabulary = engine.vocabulary
    names = [vocabulary.name(token) for token in vocabulary.encode("🐋")]
    assert names[0].startswith("bytes:\\xf0")
    assert "".join(names).replace("bytes:", "") == "\\xf0\\x9f\\x90\\x8b"
    known = [vocabulary.name(token) for token in range(engine.network.tokens)]
    assert len(set(known)) == len(known)  # none hides another among the likeliest


@pytest.mark.parametrize("ending", ["length", "separator", "line break"])
def test_half_a_character_at_the_end_of_a_text_is_left_out(engine, ending):
    half = engine.vocabulary.encode("🐋")[0]
    assert engine.vocabulary.decode([half]) == "\ufffd"
    text = Text(engine.vocabulary, engine.vocabulary.encode(PROMPT), ("\n",))
    said = [text.add(token)[0] for token in [*engine.vocabulary.encode(" a🐋"), half]]
    if ending == "line break":
        (line_break,) = engine.vocabulary.encode("\n")
        last, stopped = text.add(line_break)
        assert stopped
    else:
        last = text.end()
    assert "".join(said) + last == " a🐋"


def test_weights_that_compute_no_numbers_are_an_error_and_not_an_answer(base, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"] * torch.nan
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(DamagedModel, match="not a number"):
        Engine(folder).generate([Request(PROMPT)])
    thread = EngineThread(Engine(folder))
    with pytest.raises(DamagedModel):
        thread.submit(Request(PROMPT)).result(timeout=60)
    thread.engine.load_weights(base / "model.safetensors")
    assert thread.submit(Request(PROMPT)).result(timeout=60)[0].tokens  # the thread goes on
    thread.close()


def test_the_default_length_counts_the_prompt_and_ends_at_the_models_positions(base, engine, monkeypatch):
    (letter,) = engine.vocabulary.encode("a")
    endless, prompt = preferring(Engine(base), letter), len(engine.vocabulary.encode(PROMPT)) + 1

    def length(**parameters):
        choice = endless.generate([Request(PROMPT, Parameters(do_sample=False, **parameters))])[0][0]
        assert choice.finish_reason == "length"
        return choice.tokens

    assert engine.capacity == 128
    assert length() == length(max_new_tokens=500) == 128 - prompt
    monkeypatch.setattr("serve.engine.engine.MAX_TOKENS", 60)
    assert length() == 60 - prompt


def test_a_prompt_without_room_for_an_answer_is_refused(engine):
    with pytest.raises(ValueError, match="takes 127"):
        engine.generate([Request("soup bread " * 100)])


def test_the_text_ends_before_a_stop_string_and_at_a_line_break(engine):
    free = said(engine, seed=4, max_new_tokens=40, min_new_tokens=40)[0]
    stop = free[5:8]
    assert said(engine, seed=4, max_new_tokens=40, min_new_tokens=40, stop=[stop])[0] == free.split(stop)[0]
    assert "\n" not in free


def test_a_repetition_penalty_makes_greedy_text_vary(engine):
    plain = said(engine, do_sample=False, max_new_tokens=30, min_new_tokens=30)[0]
    varied = said(engine, do_sample=False, max_new_tokens=30, min_new_tokens=30, repetition_penalty=5.0)[0]
    assert len(set(varied)) > len(set(plain))


def test_top_k_of_one_is_greedy(engine):
    assert said(engine, top_k=1, max_new_tokens=9) == said(engine, do_sample=False, max_new_tokens=9)


def test_a_prompt_that_spells_the_separator_stays_text(engine):
    request = Request("a <|endoftext|> b", Parameters(max_new_tokens=1))
    engine.add(request)
    assert engine._waiting[0].prompt.count(engine.separator) == 1
    engine.generate([])


@pytest.mark.parametrize("stop", [[], ["zzz"], None])
def test_pieces_come_one_by_one_and_make_up_the_text(engine, stop):
    plain = engine.generate([Request(PROMPT, Parameters(seed=6, top_k=0, num_return_sequences=3))])[0]
    stop = [plain[1].text[3:6]] if stop is None else stop
    pieces: list[Piece] = []
    request = Request(PROMPT, Parameters(seed=6, top_k=0, num_return_sequences=3, stop=stop), on_piece=pieces.append)
    for index, choice in enumerate(engine.generate([request])[0]):
        mine = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert len(mine) == choice.tokens and all(piece.logprob <= 0 for piece in mine)
        assert [piece.finish_reason for piece in mine] == [None] * (len(mine) - 1) + [choice.finish_reason]


def test_probabilities_are_the_models_own(base, engine):
    request = Request(PROMPT, Parameters(seed=6, max_new_tokens=5, min_new_tokens=5, temperature=3.0), logprobs=2)
    pieces: list[Piece] = []
    request.on_piece = pieces.append
    choice = engine.generate([request])[0][0]
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = [engine.separator, *engine.vocabulary.encode(PROMPT), *[piece.token for piece in pieces]]
    assert request.prompt_tokens == len(ids) - len(pieces)
    with torch.inference_mode():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
    assert len(choice.logprobs) == choice.tokens
    for at, (told, piece) in enumerate(zip(choice.logprobs, pieces, strict=True), request.prompt_tokens - 1):
        assert told.logprob == piece.logprob == pytest.approx(float(expected[at, piece.token]), abs=1e-4)
        assert told.top[piece.name] == told.logprob  # the last, unless it is one of the likeliest
        assert list(told.top.values())[:2] == pytest.approx(expected[at].topk(2).values.tolist(), abs=1e-4)
        assert told.top == piece.top and told.token == engine.vocabulary.name(piece.token)


def test_an_idle_engine_holds_its_weights_alone(engine):
    idle = engine.bytes
    engine.add(Request(PROMPT, Parameters(seed=1)))
    engine.step()
    assert engine.bytes > idle == engine.network.bytes
    engine.generate([])
    assert engine.bytes == idle


def test_a_cancelled_request_leaves_at_once_and_the_others_continue(engine):
    gone, stays = Request(PROMPT, Parameters(min_new_tokens=50)), Request(PROMPT, Parameters(seed=1))
    engine.add(gone)
    engine.add(stays)
    engine.step()
    gone.cancelled = True
    engine.step()
    assert gone.choices[0].finish_reason == "cancelled"
    engine.generate([])
    assert stays.choices[0].text == said(engine, seed=1)[0]


def test_another_bots_weights_are_taken_over_in_place(base, engine, tmp_path):
    from safetensors.torch import load_file, save_file

    before = said(engine, seed=2)
    other = {name: tensor * 1.5 for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(other, tmp_path / "other.safetensors")
    engine.load_weights(tmp_path / "other.safetensors")
    assert said(engine, seed=2) != before
    engine.load_weights(base / "model.safetensors")
    assert said(engine, seed=2) == before


def test_weights_of_another_model_are_refused(engine, tmp_path):
    from safetensors.torch import save_file

    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="another model"):
        engine.load_weights(tmp_path / "other.safetensors")


def test_a_model_of_another_architecture_works_too(base, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=500, num_key_value_heads=2, max_position_embeddings=128, **sizes)
    llama = LlamaForCausalLM(config)
    llama.save_pretrained(tmp_path)
    engine = Engine(tmp_path)
    ids = torch.tensor([[engine.separator, *engine.vocabulary.encode(PROMPT)]])
    greedy = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    expected = llama.eval().generate(ids, pad_token_id=0, eos_token_id=0, **greedy)
    answers = engine.generate([Request("River", Parameters(seed=1)), Request(PROMPT, Parameters(**greedy))])
    text = engine.vocabulary.decode(expected[0, ids.shape[1] :].tolist())
    assert answers[1][0].text == text.split("\n")[0].rstrip("\ufffd")


def test_many_threads_share_one_engine(base):
    thread = EngineThread(Engine(base, max_batch=4))
    alone = thread.submit(Request(PROMPT, Parameters(seed=9))).result(timeout=60)[0].text
    answers: list[str] = []

    def ask() -> None:
        answers.append(thread.submit(Request(PROMPT, Parameters(seed=9))).result(timeout=60)[0].text)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == [alone] * 12


def test_a_closed_thread_answers_what_it_has_and_ends(base):
    thread = EngineThread(Engine(base))
    answers = [thread.submit(Request(PROMPT, Parameters(seed=seed))) for seed in range(3)]
    thread.close()
    assert all(answer.result(timeout=60)[0].tokens for answer in answers)
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_request_that_cannot_be_answered_fails_alone(base):
    thread = EngineThread(Engine(base))
    too_long = thread.submit(Request("soup bread " * 100))
    fine = thread.submit(Request(PROMPT, Parameters(seed=1)))
    with pytest.raises(ValueError, match="tokens"):
        too_long.result(timeout=60)
    assert fine.result(timeout=60)[0].text


def test_the_fleet_files_settings_reach_the_engine(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "bots" / "ada" / "0123456789ab")
    (folder / "word_runs.npy").write_bytes(runs_file(["one two three four five six seven eight"]))
    settings = Serve(quantize="int8", no_copies=True)
    cache = Cache(Store(LocalFileSystem(), str(tmp_path)), 10**9, tmp_path / "cache")
    replica = BotEndpoint.func_or_class("ada", cache, engine_options(settings))
    asyncio.run(replica.reconfigure({"version": "0123456789ab"}))
    assert replica.thread and not replica.problem
    engine = replica.thread.engine
    replica.thread.close()
    assert engine.bytes < 0.6 * Engine(base).bytes and engine.copies is not None
    assert Engine(base).copies is None


def test_steps_recorded_for_a_gpu_say_the_same(base, monkeypatch):
    """By graphs that need no GPU: as the spans grow, and after the cache was given back."""
    graphs = fake_graphs.install(monkeypatch)
    requests = [("Soup", 1, 6), ("River barge", 2, 90), ("Moon", 3, 30)]

    def answers(engine):
        asked = [Request(text, Parameters(seed=seed, max_new_tokens=n, stop=[])) for text, seed, n in requests]
        return [choices[0].text for choices in engine.generate(asked)]

    plain, recording = Engine(base, max_batch=4), Engine(base, max_batch=4)
    recording._fixed = True
    recording._graphs = CudaGraphs(recording._decode, warmup=1)
    monkeypatch.setattr("serve.engine.engine._STRETCH", 32)
    assert [answers(recording) for _ in range(2)] == [answers(plain)] * 2
    assert len(graphs) >= 4 and min(graph.replays for graph in graphs) > 1
    assert recording.bytes == plain.bytes


def test_steps_are_recorded_anew_when_the_cache_moves(base, monkeypatch):
    """A long prompt makes the cache grow; when it is gone, steps look back over the first length again."""
    graphs = fake_graphs.install(monkeypatch)

    def answers(engine):
        short = Request("Soup", Parameters(seed=1, min_new_tokens=25, max_new_tokens=25, stop=[]))
        long = Request("River barge " * 40, Parameters(seed=2, max_new_tokens=3, stop=[]))
        engine.add(short)
        for _ in range(6):
            engine.step()
        engine.add(long)
        while engine.busy:
            engine.step()
        return [request.choices[0].text for request in (short, long)]

    plain, recording = Engine(base, max_batch=4), Engine(base, max_batch=4)
    recording._fixed = True
    recording._graphs = CudaGraphs(recording._decode, warmup=1)
    monkeypatch.setattr("serve.engine.engine._STRETCH", 32)
    assert answers(recording) == answers(plain)
    assert len(graphs) >= 2 and graphs[0].replays > 1


def test_a_replica_without_a_share_of_a_gpu_leaves_the_gpus_alone():
    assert engine_options(Serve())["device"] == "cpu"
    assert engine_options(Serve(gpus_per_replica=0.1))["device"] == "cuda"


@pytest.mark.parametrize(("other", "most"), [("a stranger", 20), ("the crowd", 45)])
def test_nobody_waits_for_all_that_another_client_or_request_has_asked_before(engine, other, most):
    long = {"max_new_tokens": 10, "min_new_tokens": 10}
    done: list[str] = []

    def ask(client: str, name: str, texts: int) -> None:
        parameters = Parameters(num_return_sequences=texts, **long)
        engine.add(Request(PROMPT, parameters, client=client, on_done=lambda choices: done.append(name)))

    for number in range(3):
        ask("the crowd", f"long {number}", 16)
    engine.step()
    ask(other, "other", 1)
    steps: dict[str, int] = {}
    for step in range(1, 400):
        engine.step()
        steps |= {name: step for name in done if name not in steps}
        if step % 10 == 0 and step < 150:
            ask("the crowd", "late", 4)
    assert steps["other"] < most  # of the 80 that the long ones take by themselves
    assert steps["long 2"] < 150  # those who come later do not push them back for ever


def test_a_fair_turn_changes_no_text(engine):
    same = Request(PROMPT, Parameters(seed=5, num_return_sequences=4), client="a")
    alone = [choice.text for choice in engine.generate([same])[0]]
    others = [Request("River barge", Parameters(num_return_sequences=3), client="b") for _ in range(5)]
    same = Request(PROMPT, Parameters(seed=5, num_return_sequences=4), client="a")
    assert [choice.text for choice in engine.generate([*others, same])[-1]] == alone
