"""A row's logits are the same bits whatever else is in the pass, and those of transformers but for rounding."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pipeline.core.own_code import ASSETS
from serve.engine.kv import ROWS, KVCache, Span
from serve.engine.network import LOOK_BACK, load_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["gpt2", "wide gpt2", "llama"])
def folder(request, tmp_path_factory):
    torch.manual_seed(0)
    llama = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    network = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=500, n_positions=128, n_embd=64, n_layer=2, n_head=4)),
        "wide gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=9000, n_embd=768, n_layer=1, n_head=12)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=500, num_key_value_heads=2, **llama)),
    }[request.param]()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("network")
    network.save_pretrained(path)
    return path


@torch.inference_mode()
def logits_of(network, prompts, steps, look_back=0):
    """Logits after the prompts and after each of `steps`, [steps + 1, prompts, vocabulary]; as the engine does it."""
    count, cache = len(prompts), KVCache(network.layers)
    rows = count + -count % ROWS
    cache.reserve(rows, 128)
    out = []
    length = -(-max(map(len, prompts)) // LOOK_BACK) * LOOK_BACK
    tokens = torch.tensor([prompt + [0] * (length - len(prompt)) for prompt in prompts])
    last = torch.tensor([len(prompt) - 1 for prompt in prompts])
    source = torch.arange(count)
    positions = torch.arange(length).expand(count, -1)
    out.append(network(tokens, positions, last, Span(source, length, source=source), cache))
    for step, token in enumerate(steps):
        at = torch.tensor([len(prompt) + step for prompt in prompts] + [0] * (rows - count))
        span = -(-max(int(at.max()) + 1, look_back) // LOOK_BACK) * LOOK_BACK
        token = torch.full((rows, 1), token)
        logits = network(token, at[:, None], torch.zeros_like(at), Span(torch.arange(rows), span, at=at), cache)
        out.append(logits[:count])
    return torch.stack(out)


def prompts(count):
    generator = torch.Generator().manual_seed(count)
    lengths = torch.randint(1, 17, (count,), generator=generator).tolist()
    return [torch.randint(0, 500, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("count", [2, 5, 17, 32])
def test_a_rows_logits_are_the_same_bits_alone_and_in_any_batch(folder, count, int8):
    network = load_network(folder, CPU, torch.float32, int8)
    many, steps = prompts(count), [3, 1, 4, 1, 5]
    together = logits_of(network, many, steps, look_back=4 * count)
    for row in {0, 1, count // 2, count - 1}:
        assert torch.equal(logits_of(network, [many[row]], steps)[:, 0], together[:, row])


def test_logits_are_transformers(folder):
    from transformers import AutoModelForCausalLM

    network, reference = load_network(folder, CPU, torch.float32), AutoModelForCausalLM.from_pretrained(folder)
    many, steps = prompts(5), [7, 8, 9]
    ours = logits_of(network, many, steps)
    for row, prompt in enumerate(many):
        with torch.inference_mode():
            theirs = reference(torch.tensor([prompt + steps])).logits[0, len(prompt) - 1 :]
        torch.testing.assert_close(ours[:, row], theirs, atol=2e-4, rtol=1e-4)


def test_weights_in_8_bits_say_nearly_the_same_in_a_third_of_the_memory():
    folder, ids = ASSETS / "mini", torch.randint(1, 8192, (8, 12), generator=torch.Generator().manual_seed(0)).tolist()
    exact, small = (load_network(folder, CPU, torch.float32, int8) for int8 in (False, True))
    expected, got = (torch.log_softmax(logits_of(network, ids, [5, 6]), -1) for network in (exact, small))
    divergence = (expected.exp() * (expected - got)).sum(-1)  # Kullback-Leibler, nats
    assert 0 < divergence.mean() < 0.005
    assert small.bytes < 0.4 * exact.bytes


def test_the_cache_grows_keeps_what_it_holds_and_gives_memory_back():
    cache = KVCache(layers=1)
    assert cache.bytes == 0
    cache.reserve(4, 10)
    keys = torch.randn(2, 16, 3, 8)
    cache.write(0, keys, keys, Span(torch.tensor([0, 1]), 16, source=torch.tensor([1, 0])))
    cache.reserve(5, 100)
    assert cache.keys[0].shape == (8, 128, 3, 8)
    assert torch.equal(cache.keys[0][0, :16], keys[1]) and torch.equal(cache.values[0][1, :16], keys[0])
    cache.move(0, 1, 16)
    assert torch.equal(cache.keys[0][1, :16], keys[1])
    assert cache.bytes == 2 * 8 * 3 * 128 * 8 * 4
    cache.release()
    assert cache.bytes == 0
