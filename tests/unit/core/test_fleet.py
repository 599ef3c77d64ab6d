"""The fleet file: what it accepts, where its paths start, and how it says what is wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core.errors import UsageError
from pipeline.core.fleet import Fleet, load
from pipeline.core.names import (
    MAX_BLEND,
    MAX_BOT_NAME,
    bot_name,
    handle_of,
    handles_of,
    is_bot_name,
    is_version,
    parse_bot_name,
    served_name,
    short_name,
    typed_bot_name,
    typed_served_name,
)
from pipeline.core.settings import Train

HANDLES = st.from_regex(r"[a-z0-9_]{1,63}", fullmatch=True)
MINIMAL = "fleet: birds\ntweets: [wren.csv]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, *settings: str) -> Fleet:
    return load(write(folder, text), list(settings))


def refusal(folder: Path, text: str, *settings: str) -> str:
    """The message with which a fleet file is refused: one line, exit code 2."""
    with pytest.raises(UsageError) as caught:
        read(folder, text, *settings)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    return message


def test_everything_but_fleet_and_tweets_has_the_documented_default(folder):
    fleet = read(folder, MINIMAL)
    assert (fleet.base_model, fleet.bots, fleet.chosen) == ("mini", "all", None)
    train = fleet.train
    assert (train.epochs, train.learning_rate, train.batch_size, train.block_size) == (4, 1.372e-4, 1, 1024)
    assert (train.holdout, train.lanes, train.workers_per_bot, train.zero_stage) == (0.1, "auto", 1, "auto")
    assert (train.precision, train.seed) == ("auto", 0)
    serve = fleet.serve
    assert (serve.endpoint, serve.min_replicas, serve.max_replicas) == ("dedicated", 0, 4)
    assert (serve.target_ongoing_requests, serve.host, serve.port) == (8, "127.0.0.1", 8000)
    assert (fleet.wandb.mode, fleet.wandb.project, fleet.wandb.entity) == ("auto", "huggingtweets", None)
    assert fleet.publish.dtype == "float16"


@pytest.mark.parametrize("missing, text", [("fleet", "tweets: [wren.csv]"), ("tweets", "fleet: birds")])
def test_fleet_and_tweets_are_the_two_keys_that_must_be_there(folder, missing, text):
    assert f"{missing}: missing" in refusal(folder, text)


def test_relative_paths_start_at_the_folder_of_the_fleet_file(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    fleet = read(folder, MINIMAL + "storage: ./out\nbase_model: ./base\n")
    assert fleet.tweets[0].path == str(folder / "wren.csv")
    assert fleet.storage == str(folder / "out")
    assert fleet.base_model == str(folder / "base")


def test_absolute_paths_and_uris_stay_as_they_are(folder):
    fleet = read(folder, "fleet: birds\ntweets: [/data/wren.csv, s3://bucket/wren.csv]\nstorage: gs://bucket/fleets\n")
    assert [source.path for source in fleet.tweets] == ["/data/wren.csv", "s3://bucket/wren.csv"]
    assert fleet.storage == "gs://bucket/fleets"


def test_a_base_model_is_a_local_folder_where_one_has_that_name(folder):
    assert read(folder, MINIMAL + "base_model: gpt2").base_model == "gpt2"
    (folder / "gpt2").mkdir()
    assert read(folder, MINIMAL + "base_model: gpt2").base_model == str(folder / "gpt2")


def test_one_tweet_file_needs_no_list(folder):
    assert [source.path for source in read(folder, "fleet: birds\ntweets: wren.csv").tweets] == [
        str(folder / "wren.csv")
    ]


def test_a_source_can_say_whose_tweets_it_holds(folder):
    [source] = read(folder, "fleet: birds\ntweets: [{path: dump.csv, handle: '@Wren_1'}]").tweets
    assert (source.path, source.handle) == (str(folder / "dump.csv"), "wren_1")


def test_an_invalid_handle_is_refused_with_its_place(folder):
    message = refusal(folder, "fleet: birds\ntweets: [{path: dump.csv, handle: not a handle}]")
    assert "tweets.0.handle: 'not a handle' is not a handle" in message


def test_bots_are_lower_case_and_blends_are_sorted(folder):
    fleet = read(folder, MINIMAL + "bots: [Wren, '@robin', [robin, Lark, wren]]")
    assert fleet.chosen == ["wren", "robin", "lark-robin-wren"]


def test_a_bot_asked_for_twice_is_made_once(folder):
    fleet = read(folder, MINIMAL + "bots: [wren, WREN, [robin, wren], [wren, robin], [wren, wren]]")
    assert fleet.chosen == ["wren", "robin-wren"]


def test_a_blend_takes_ten_people_and_no_more(folder):
    ten = [f"bird{i}" for i in range(MAX_BLEND)]
    assert read(folder, MINIMAL + f"bots: [[{', '.join(ten)}]]").chosen == ["-".join(ten)]
    assert "bots: a blend takes 1 to 10 people, not 11" in refusal(
        folder, MINIMAL + f"bots: [[{', '.join([*ten, 'wren'])}]]"
    )


@pytest.mark.parametrize("bad", ["[wren-robin]", "[../wren]", "[[wren, 'a b']]", "[[]]", "[5]", "wren"])
def test_a_bot_that_is_no_handle_or_blend_is_refused(folder, bad):
    assert "bots" in refusal(folder, MINIMAL + f"bots: {bad}")


@pytest.mark.parametrize("bad", ["Birds", "a/b", "''", "..", "a" * 64, "2024"])
def test_a_fleet_name_that_could_not_be_a_folder_is_refused(folder, bad):
    assert ": fleet: " in refusal(folder, f"fleet: {bad}\ntweets: [wren.csv]")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("tran: {}", "tran: unknown key; did you mean `train`?"),
        ("train: {epohcs: 2}", "train.epohcs: unknown key; did you mean `epochs`?"),
        ("serve: {max_replica: 2}", "serve.max_replica: unknown key; did you mean `max_replicas`?"),
        ("wandb: {projct: x}", "wandb.projct: unknown key; did you mean `project`?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(folder, text, expected):
    assert expected in refusal(folder, MINIMAL + text)


def test_an_unknown_key_of_a_tweet_source_is_refused_with_the_nearest_known_one(folder):
    message = refusal(folder, "fleet: birds\ntweets: [{path: a.csv, handel: wren}]")
    assert "tweets.0.handel: unknown key; did you mean `handle`?" in message


def test_an_unknown_key_like_no_other_is_refused_with_all_known_ones(folder):
    message = refusal(folder, MINIMAL + "wandb: {qqq: 1}")
    assert "wandb.qqq: unknown key; known keys: mode, project, entity" in message


def test_every_problem_is_named_at_once(folder):
    message = refusal(folder, "tweets: [wren.csv]\ntrain: {epochs: 0, seeed: 1}")
    assert all(key in message for key in ("fleet: missing", "train.epochs:", "train.seeed:"))


@pytest.mark.parametrize(
    "text, key",
    [
        ("train: {epochs: many}", "train.epochs"),
        ("train: {epochs: 0}", "train.epochs"),
        ("train: {learning_rate: -1}", "train.learning_rate"),
        ("train: {holdout: 1}", "train.holdout"),
        ("train: {lanes: 0}", "train.lanes"),
        ("train: {zero_stage: 4}", "train.zero_stage"),
        ("train: {precision: fp8}", "train.precision"),
        ("train: fast", "train"),
        ("serve: {port: 70000}", "serve.port"),
        ("serve: {min_replicas: 9}", "serve"),
        ("wandb: {mode: loud}", "wandb.mode"),
        ("storage: [a]", "storage"),
        ("pretrain: {train_defaults: {epohcs: 1}}", "pretrain.train_defaults.epohcs"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(folder, text, key):
    assert f" {key}: " in refusal(folder, MINIMAL + text)


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words"])
def test_a_file_that_is_no_mapping_is_refused(folder, text):
    assert "a fleet file is a mapping of keys" in refusal(folder, text)


@pytest.mark.parametrize("text", ["fleet: [", "a: b: c", "fleet: \t- x", MINIMAL + "wandb: {entity: 2020-13-45}"])
def test_a_file_that_is_no_yaml_is_refused(folder, text):
    assert "not valid YAML" in refusal(folder, text)


def test_a_fleet_file_that_is_not_there_is_named(folder):
    with pytest.raises(UsageError, match=r"absent\.yaml: no such fleet file"):
        load(folder / "absent.yaml")


def test_a_fleet_file_that_is_not_utf8_is_refused(folder):
    path = folder / "fleet.yaml"
    path.write_bytes(b"fleet: \xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load(path)


def test_a_path_in_the_home_of_an_unknown_user_is_refused(folder):
    assert "~" in refusal(folder, MINIMAL + "storage: ~nobody-by-this-name/fleets")


def test_set_wins_over_the_file_and_over_earlier_sets(folder):
    fleet = read(folder, MINIMAL + "train: {epochs: 3, seed: 5}", "train.epochs=1", "train.epochs=2")
    assert (fleet.train.epochs, fleet.train.seed) == (2, 5)


def test_set_reads_its_value_as_yaml(folder):
    fleet = read(folder, MINIMAL, "bots=[wren, [robin, lark]]", "train.learning_rate=1e-4", "wandb.entity=null=x")
    assert fleet.chosen == ["wren", "lark-robin"]
    assert fleet.train.learning_rate == 1e-4
    assert fleet.wandb.entity == "null=x"


@pytest.mark.parametrize(
    "setting", ["train.epochs", "=3", "train..epochs=1", "train.epochs=[", "fleet.x=1", "seed=2020-13-45"]
)
def test_a_set_that_makes_no_sense_is_quoted_back(folder, setting):
    assert f"--set {setting}" in refusal(folder, MINIMAL, setting)


@pytest.mark.parametrize("setting, key", [("train.epohcs=2", "did you mean `epochs`"), ("train.epochs=", "epochs")])
def test_a_set_is_validated_like_the_file(folder, setting, key):
    assert key in refusal(folder, MINIMAL, setting)


def test_a_setting_is_known_as_given_only_where_it_was_given(folder):
    """A base model's own defaults give way to what was asked for, and to nothing else."""
    fleet = read(folder, MINIMAL + "train: {seed: 0}", "train.epochs=4")
    assert fleet.train.model_fields_set == {"seed", "epochs"}


@pytest.mark.parametrize("text", ["Wren", "@wren", "  @WREN\n", "wren"])
def test_a_handle_is_kept_in_lower_case_without_the_at_sign(text):
    assert handle_of(text) == "wren"


NO_HANDLES = ["", "@", "@@wren", "a" * 64, "a-b", "a b", "../a", "naïve", "\u212a", "wren\0"]
NO_HANDLES += ["a..b", ".a.com", "a.com/b", "ada@"]


@pytest.mark.parametrize("text", NO_HANDLES)
def test_text_that_is_no_handle_gives_none(text):
    assert handle_of(text) is None


@settings(deadline=None)
@given(st.text(max_size=20) | HANDLES.map(lambda handle: f"@{handle.upper()} "))
def test_a_handle_from_any_text_is_ascii_and_safe_in_a_path(text):
    handle = handle_of(text)
    plain = text.strip().removeprefix("@")
    if re.fullmatch(r"[A-Za-z0-9_]{1,63}", plain):
        assert handle == plain.lower()
    assert handle is None or handle == re.sub(r"[^a-z0-9_]", "_", plain.lower()) == handle_of(handle)


def test_an_account_elsewhere_has_as_many_characters_as_a_handle():
    assert handle_of("a" * 55 + ".example") == "a" * 55 + "_example"
    assert handle_of("a" * 56 + ".example") is None


def test_a_bots_name_has_200_characters_and_ten_people_at_most():
    people = [f"{i}".rjust(63, "a") for i in (1, 2, 3)]
    longest = bot_name([*people, "b" * 8])
    assert len(longest) == 200 and typed_bot_name(longest.upper()) == longest
    assert typed_bot_name(bot_name([*people, "b" * 9])) is None
    assert typed_bot_name("-".join("abcdefghij")) and typed_bot_name("-".join("abcdefghijk")) is None
    assert typed_bot_name("wren-" + "-" * 400) is None


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("@NASA", "nasa"),
        ("@NASA@Large", "nasa@large"),
        ("nasa-BillNye@my-fleet_2", "billnye-nasa@my-fleet_2"),
        ("@ada@ferry.example", "ada_ferry_example"),
        ("ada@ferry.example@large", "ada_ferry_example@large"),
        ("nasa@", None),
        ("nasa@a/b", None),
        ("nasa@large@larger", None),
        ("@@large", None),
        ("nasa@la\u212arge", None),
    ],
)
def test_a_bots_full_name_is_its_own_and_its_fleets(typed, name):
    assert typed_served_name(typed) == name
    if name:
        bot, _, fleet = name.partition("@")
        assert served_name(bot, fleet, full=bool(fleet)) == name and short_name(name) == bot


@pytest.mark.parametrize("name", ["0123456789a", "0123456789abc", "0123456789aB", "0123456789ag", "../456789abcd"])
def test_a_version_is_twelve_hexadecimal_digits(name):
    assert is_version("0123456789ab") and not is_version(name)


@pytest.mark.parametrize(
    "account, handle",
    [
        ("fogwarden.bsky.social", "fogwarden_bsky_social"),
        ("@Fog-Warden.bsky.social", "fog_warden_bsky_social"),
        ("@ada@ferry.example", "ada_ferry_example"),
        ("ada.l@Ferry-Boats.example", "ada_l_ferry_boats_example"),
        ("ada_ferry_example", "ada_ferry_example"),
    ],
)
def test_an_account_elsewhere_is_a_handle(account, handle):
    assert handle_of(account) == handle
    assert handle_of(f"{'a' * 63}.{account.removeprefix('@')}") is None  # too long to be one


@settings(deadline=None)
@given(st.sets(HANDLES, min_size=1, max_size=3).map(list))
def test_the_name_of_a_blend_is_a_bot_name_in_any_order(handles):
    name = bot_name(handles)
    assert is_bot_name(name)
    assert name == bot_name(handles[::-1])
    assert handles_of(name) == sorted(handles)


@settings(deadline=None)
@given(st.text(alphabet="ab_-A./ \n", max_size=12))
def test_nothing_but_sorted_handles_is_a_bot_name(text):
    handles = text.split("-")
    proper = all(re.fullmatch(r"[ab_]+", handle) for handle in handles) and handles == sorted(set(handles))
    assert is_bot_name(text) == proper


@pytest.mark.parametrize(
    "name", ["", "-", "Wren", "robin-", "wren-robin", "wren-wren", "..", "a/b", "wren\n", "%2e", "a" * 64]
)
def test_other_names_from_outside_are_refused(name):
    assert not is_bot_name(name)


def test_a_name_of_eleven_people_is_no_bot():
    names = [f"b{i:02}" for i in range(MAX_BLEND + 1)]
    assert is_bot_name("-".join(names[:-1]))
    assert not is_bot_name("-".join(names))


def test_a_name_of_over_200_characters_is_no_bot(folder):
    names = [f"{letter * 60}" for letter in "abcd"]
    assert is_bot_name("-".join(names[:3]))
    assert not is_bot_name("-".join(names))
    with pytest.raises(UsageError, match=f"over {MAX_BOT_NAME} characters"):
        read(folder, MINIMAL + f"bots: [[{', '.join(names)}]]")


@pytest.mark.parametrize(
    "typed, name",
    [
        ("nasa-billnye", "billnye-nasa"),
        (" @NASA-BillNye", "billnye-nasa"),
        ("@nasa-@billnye", "billnye-nasa"),
        ("NASA", "nasa"),
        ("fog-warden.bsky.social", "fog_warden_bsky_social"),
        ("ada.bsky.social-nasa", "ada_bsky_social-nasa"),
    ],
)
def test_a_bot_is_known_by_its_peoples_names_in_any_order_and_case(typed, name):
    assert typed_bot_name(typed) == parse_bot_name(typed) == name


@pytest.mark.parametrize("typed", ["", "-", "nasa-", "nasa-nasa", "../nasa", "a b", "a" * 500, "wren/x" * 100])
def test_a_typed_name_that_no_bot_can_have_is_quoted_and_cut(typed):
    assert typed_bot_name(typed) is None
    with pytest.raises(UsageError, match="is not a bot's name") as caught:
        parse_bot_name(typed)
    assert len(str(caught.value)) < 100


def test_several_accounts_are_one_person(folder):
    accounts = "[Ada_X, ada.bsky.social, '@ada@ferry.example']"
    fleet = read(folder, f"{MINIMAL}people: {{ada: {accounts}}}")
    assert fleet.owners == {"ada_x": "ada", "ada_bsky_social": "ada", "ada_ferry_example": "ada"}
    assert fleet.people["ada"].consent is None
    own = read(folder, MINIMAL + "people: {ada: {accounts: [ada.bsky.social], consent: own}}")
    assert own.people["ada"].consent == "own"


@pytest.mark.parametrize(
    "people, reason",
    [
        ("{ada: [a, b], ben: [b]}", "the account b is listed for ada and for ben"),
        ("{ada: [ben], ben: [c]}", "ben is a person of its own, and an account of ada"),
        ("{ada: []}", "people.ada.accounts"),
        ("{Ada Lovelace: [a]}", "is not a handle"),
        ("{ada: ['../x']}", "is not a handle"),
        ("{ada: {accounts: [a], consent: everybody}}", "people.ada.consent"),
    ],
)
def test_people_that_make_no_sense_are_refused(folder, people, reason):
    with pytest.raises(UsageError, match=re.escape(reason)):
        read(folder, f"{MINIMAL}people: {people}")


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ([], None),
        (["bots=[wren, [robin, lark]]"], {"wren", "robin", "lark"}),
        (["bots=[wren]", "evaluate.references=['@Owl']"], {"wren", "owl"}),
        (["bots=[wren]", "evaluate.references=all"], None),
        (["bots=[wren]", "adapt=true"], None),  # its base learns from everybody
    ],
)
def test_whose_tweets_a_fleet_needs(folder, settings, needed):
    assert read(folder, MINIMAL, *settings).needed == needed


@pytest.mark.parametrize(
    ("adapt", "epochs"), [("true", 1), ("{}", 1), ("{epochs: 3}", 3), ("false", None), ("null", None)]
)
def test_adapt_is_a_section_or_true_or_false(folder, adapt, epochs):
    section = read(folder, f"{MINIMAL}adapt: {adapt}\n").adapt
    assert (section.epochs if section else None) == epochs


def test_a_reference_is_a_handle(folder):
    with pytest.raises(UsageError, match=r"evaluate\.references"):
        read(folder, MINIMAL, "evaluate.references=['not a handle']")


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ({"gpus_per_worker": 1.5}, "gpus_per_worker 1.5: above 1 it is a whole number of GPUs"),
        ({"gpus_per_worker": 0.5, "workers_per_bot": 2}, "workers that train one bot together need a GPU each"),
        ({"gpus_per_worker": 0.5, "overrides": [{"bots": ["nasa"], "workers_per_bot": 2}]}, "with workers_per_bot 2"),
    ],
)
def test_shares_of_gpus_that_no_cluster_can_give_are_refused(train, problem):
    with pytest.raises(ValidationError, match=problem):
        Train(**train)


def test_shares_of_gpus_that_a_cluster_can_give_are_taken():
    apart = {"gpus_per_worker": 0.5, "overrides": [{"bots": ["nasa"], "workers_per_bot": 2, "gpus_per_worker": 1.0}]}
    assert Train(**apart).gpus_per_worker == 0.5 and Train(gpus_per_worker=2.0, workers_per_bot=2).workers_per_bot == 2


def test_a_bot_that_continues_needs_all_its_tweets():
    assert Train(max_tokens=5_000).of("nasa", 6_000).max_tokens == 5_000
    with pytest.raises(ValueError, match="max_tokens"):
        Train(**{"max_tokens": 5_000, "continue": True})


def test_the_bots_of_a_fleet_share_their_settings_unless_some_differ():
    shared, limited = Train(epochs=2), Train(max_tokens=5_000)
    assert shared.of("nasa", 6_000) is shared
    assert limited.of("nasa", 4_000).max_tokens is None
