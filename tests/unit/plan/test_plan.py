"""The plan: which bots a fleet has, what their versions depend on, and the status of each."""

import json
import shutil
from typing import Any

import pytest
from pyarrow import fs

from pipeline.core import manifest
from pipeline.core.errors import UsageError, UserError
from pipeline.core.fleet import Fleet, load
from pipeline.core.model_folder import ModelFolder
from pipeline.core.names import printable
from pipeline.core.settings import Train
from pipeline.core.store import Store
from pipeline.plan import provenance
from pipeline.plan.bot import Bot
from pipeline.plan.bots import MIN_CHARS, WARN_CHARS, plan, update_status
from pipeline.plan.job import Job, open_job, recipe
from pipeline.plan.versions import version
from pipeline.prepare.index import Person, Prepared

BASE_FILES = {"config.json": b'{"n_positions": 256}', "train_defaults.json": b'{"block_size": 128, "epochs": 9}'}


def person(handle: str, chars: int = WARN_CHARS, digest: str = "") -> Person:
    counts = {"downloaded": 12, "retweets": 1, "short": 1, "kept": 10}
    return Person(handle, counts, chars, tokens=chars // 4, digest=digest or f"digest of {handle}")


def prepared(*people: Person, lost: dict[str, str] | None = None) -> Prepared:
    """`lost`: people whose file gave nothing, with the reason."""
    problems = {f"/data/{handle}.csv": reason for handle, reason in (lost or {}).items()}
    owners = {f"/data/{handle}.csv": handle for handle in lost or {}}
    return Prepared({one.handle: one for one in people}, problems, owners, 0, "fingerprint")


def fleet(**keys: Any) -> Fleet:
    return Fleet(fleet="birds", tweets=["wren.csv"], **keys)


@pytest.fixture
def make_job(tmp_path):
    def make(base_hash: str = "base", train: Train | None = None, **keys: Any) -> Job:
        store = Store(fs.LocalFileSystem(), str(tmp_path / "birds"))
        base = ModelFolder({})
        base.__dict__["content_hash"] = base_hash  # as if its files had this hash
        return Job(fleet(**keys), store, base, train or Train())

    return make


def test_a_fleet_of_all_has_one_bot_per_person_sorted(make_job):
    bots = plan(make_job(), prepared(person("wren"), person("lark")))
    assert [(bot.name, bot.status, bot.handles) for bot in bots] == [
        ("lark", "prepared", ["lark"]),
        ("wren", "prepared", ["wren"]),
    ]


def test_a_fleet_has_the_bots_it_asks_for_and_a_blend_has_all_its_people(make_job):
    bots = plan(make_job(bots=["wren", ["wren", "lark"]]), prepared(person("wren"), person("lark"), person("owl")))
    assert [bot.name for bot in bots] == ["lark-wren", "wren"]
    assert [one.handle for one in bots[0].people] == ["lark", "wren"]
    assert bots[0].tokens == 2 * bots[1].tokens
    assert bots[0].stats == {
        "handles": ["lark", "wren"],
        "tweets": {"lark": person("lark").counts, "wren": person("wren").counts},
    }


@pytest.mark.parametrize(
    "chars, status, warned",
    [
        (0, "skipped", False),
        (MIN_CHARS - 1, "skipped", False),
        (MIN_CHARS, "prepared", True),
        (WARN_CHARS - 1, "prepared", True),
        (WARN_CHARS, "prepared", False),
    ],
)
def test_too_little_text_is_skipped_and_little_text_is_warned_of(make_job, chars, status, warned):
    [bot] = plan(make_job(), prepared(person("wren", chars)))
    assert (bot.status, bot.warning is not None) == (status, warned)
    assert (bot.version is None) == (status == "skipped")


def test_the_limits_are_those_of_the_contract():
    assert (MIN_CHARS, WARN_CHARS) == (6_000, 40_000)


def test_a_skipped_bot_says_who_has_too_little(make_job):
    [bot] = plan(make_job(bots=[["wren", "lark"]]), prepared(person("wren", 5_999), person("lark")))
    assert bot.status == "skipped"
    assert bot.reason == "@wren has 5,999 characters of kept text; a bot needs 6,000"


def test_no_bot_is_made_of_an_account_of_a_removed_person(make_job):
    job = make_job(bots=["wren_x", "lark"])
    job.store.write("forgotten.json", b'{"wren": {"accounts": ["wren_x"]}}')
    lark, wren = plan(job, prepared(person("wren_x"), person("lark")))
    assert (lark.status, wren.status) == ("prepared", "skipped")
    assert wren.reason == "@wren_x was removed from this fleet by `forget`"


def test_a_bot_without_tweets_fails_and_the_others_continue(make_job):
    missing, wren = plan(make_job(bots=["wren", "lark"]), prepared(person("wren")))
    assert (missing.name, missing.status, missing.version) == ("lark", "failed", None)
    assert missing.reason == "no posts of @lark in the fleet's files"
    assert wren.status == "prepared"


def test_a_person_whose_file_gave_nothing_is_in_the_report_with_the_reason(make_job):
    bots = plan(make_job(), prepared(person("wren"), lost={"lark": "the file is empty"}))
    assert [(bot.name, bot.status, bot.reason) for bot in bots] == [
        ("lark", "failed", "no posts of @lark: the file is empty"),
        ("wren", "prepared", None),
    ]


def test_a_person_with_one_bad_file_and_one_good_one_is_fine(make_job):
    bots = plan(make_job(), prepared(person("wren"), lost={"wren": "the file is empty"}))
    assert [(bot.name, bot.status) for bot in bots] == [("wren", "prepared")]


def test_a_bot_that_the_fleet_does_not_have_is_refused_and_those_it_has_are_named(make_job):
    people = prepared(person("wren"), person("lark"))
    assert len(plan(make_job(), people, ["wren"])) == 2
    with pytest.raises(UsageError, match="--bots: no bot owl in fleet birds; it has lark, wren"):
        plan(make_job(), people, ["wren", "owl"])


def test_a_name_from_outside_reaches_a_message_only_in_quotes():
    assert printable("lark-wren") == "lark-wren"
    assert printable("a\nb\x1b[31m").isprintable()
    assert len(printable("x" * 1000)) < 100


def test_the_same_inputs_give_the_same_version(make_job):
    assert version(make_job(), [person("wren")]) == version(make_job(), [person("wren")])


@pytest.mark.parametrize(
    "change",
    [
        {"base_hash": "another"},
        {"publish": {"dtype": "float32"}},
        *(
            {"train": Train(**setting)}
            for setting in (
                {"epochs": 5},
                {"learning_rate": 1e-3},
                {"schedule": "linear"},
                {"warmup_ratio": 0.1},
                {"batch_size": 2},
                {"block_size": 512},
                {"holdout": 0.2},
                {"precision": "fp32"},
                {"seed": 1},
            )
        ),
    ],
)
def test_what_shapes_the_model_makes_a_new_version(make_job, change):
    assert version(make_job(**change), [person("wren")]) != version(make_job(), [person("wren")])


def test_a_setting_that_came_later_makes_a_new_version_only_where_it_is_used(make_job):
    of_before = version(make_job(), [person("wren")])
    assert of_before == "834084010e36"  # as it was before there were schedules
    assert version(make_job(train=Train(schedule="cosine", warmup_ratio=0.0)), [person("wren")]) == of_before


def test_a_limit_of_tokens_makes_a_new_version_of_the_bots_that_it_limits_alone(make_job):
    limited = make_job(train=Train(max_tokens=12_000))  # a person of 10,000 tokens and one of 12,500
    small, large = person("wren"), person("lark", chars=50_000)
    assert version(limited, [small]) == version(make_job(), [small])
    assert version(limited, [large]) != version(make_job(), [large])


def test_other_tweets_make_a_new_version(make_job):
    assert version(make_job(), [person("wren", digest="more")]) != version(make_job(), [person("wren")])


@pytest.mark.parametrize(
    "setting",
    [{"lanes": 3}, {"workers_per_bot": 2}, {"gpus_per_worker": 0.5}, {"zero_stage": 1}, {"retries": 5}],
)
def test_how_the_work_is_spread_does_not_make_a_new_version(make_job, setting):
    assert version(make_job(train=Train(**setting)), [person("wren")]) == version(make_job(), [person("wren")])


def test_where_and_how_a_bot_is_served_does_not_make_a_new_version(make_job):
    other = make_job(storage="/elsewhere", serve={"port": 9000}, wandb={"mode": "disabled"})
    assert version(other, [person("wren")]) == version(make_job(), [person("wren")])


def bots_of(job: Job) -> list[Bot]:
    return plan(job, prepared(person("wren"), person("lark"), person("owl"), person("tit", 10)))


def test_what_the_store_holds_in_this_version_is_not_done_again(make_job):
    job = make_job()
    bots = {bot.name: bot for bot in bots_of(job)}
    metrics = {"held_out": {"loss": 3.5}}
    job.store.write_folder(bots["wren"].folder, {"metrics.json": json.dumps(metrics).encode()})
    job.store.write("bots/wren/current", f"{bots['wren'].version}\n".encode())
    training = {"metrics": {"train": {"loss": 4.0}}}
    job.store.write_folder(bots["lark"].trained_folder, {"training.json": json.dumps(training).encode()})

    update_status(job.store, list(bots.values()), manifest.published(job.store))
    assert {name: bot.status for name, bot in bots.items()} == {
        "wren": "unchanged",
        "lark": "trained",
        "owl": "prepared",
        "tit": "skipped",
    }
    assert bots["wren"].metrics == metrics
    assert bots["lark"].metrics == {"train": {"loss": 4.0}}


def test_another_version_in_the_store_is_work_to_do(make_job):
    job = make_job()
    [bot] = plan(job, prepared(person("wren")))
    job.store.write("bots/wren/current", b"0123456789ab")
    job.store.write("work/trained/wren/0123456789ab/training.json", b"{}")
    update_status(job.store, [bot], manifest.published(job.store))
    assert bot.status == "prepared"


def test_training_that_broke_off_before_its_last_file_is_work_to_do(make_job):
    job = make_job()
    [bot] = plan(job, prepared(person("wren")))
    job.store.write(f"{bot.trained_folder}/model.safetensors", b"half")
    update_status(job.store, [bot], manifest.published(job.store))
    assert bot.status == "prepared"


def test_the_version_in_use_is_read_from_current(make_job):
    store = make_job().store
    assert store.current_version("wren") is None
    store.write("bots/owl", b"a file in the place of a folder")
    assert store.current_version("owl") is None
    store.write("bots/wren/current", b"0123456789ab\n")
    assert store.current_version("wren") == "0123456789ab"


def published(job: Job, bot: Bot, settings: Train | None = None) -> str:
    """What stands in the store once this bot is published; its version."""
    digests = {person.handle: person.digest for person in bot.people}
    base = {"name": "mini", "hash": job.base.content_hash}
    made = provenance.record(base, digests, settings or job.train, [], [], bot.parent)
    job.store.write_folder(bot.folder, {provenance.FILE: made, "metrics.json": b"{}"})
    job.store.write(f"bots/{bot.name}/current", (bot.version or "").encode())
    return bot.version or ""


def going_on(job: Job, digest: str) -> Bot:
    [bot] = plan(job, prepared(person("wren", digest=digest)))
    update_status(job.store, [bot], manifest.published(job.store))
    return bot


def test_with_more_tweets_a_bot_continues_from_its_last_version_once(make_job):
    fresh, job = make_job(), make_job(train=Train(continue_=True))
    first = published(job, going_on(job, "few"))
    assert first == version(fresh, [person("wren", digest="few")])  # what is made first does not depend on it
    assert going_on(job, "few").status == "unchanged"
    more = going_on(job, "more")
    assert (more.parent, more.status) == (first, "prepared")
    assert more.version not in (first, version(fresh, [person("wren", digest="more")]))
    second = published(job, more)
    again = going_on(job, "more")
    assert (again.version, again.parent, again.status) == (second, "", "unchanged")
    assert going_on(job, "still more").parent == second
    assert (going_on(fresh, "more").parent, going_on(fresh, "more").status) == ("", "prepared")


def test_a_command_that_knows_the_published_versions_does_not_ask_for_them_again(make_job, monkeypatch):
    job = make_job(train=Train(continue_=True))
    first = published(job, going_on(job, "few"))
    monkeypatch.setattr(manifest, "published", lambda store: pytest.fail("600 requests to an object store"))
    [bot] = plan(job, prepared(person("wren", digest="more")), in_use={"wren": first})
    update_status(job.store, [bot], {"wren": first})
    assert (bot.parent, bot.status) == (first, "prepared")


@pytest.mark.parametrize("change", [{"base_hash": "another"}, {"train": Train(continue_=True, epochs=9)}])
def test_a_bot_starts_over_where_more_than_its_tweets_has_changed(make_job, change):
    job = make_job(train=Train(continue_=True))
    published(job, going_on(job, "few"))
    other = make_job(**({"train": job.train} | change))
    assert going_on(other, "more").parent == ""
    assert going_on(other, "more").version == version(other, [person("wren", digest="more")])


@pytest.mark.parametrize("broken", [{"settings": []}, {"base_model": {}}])
def test_a_bot_starts_over_where_what_it_was_made_of_cannot_be_read_and_no_other_bot_notices(make_job, broken):
    job = make_job(train=Train(continue_=True))
    bot = going_on(job, "few")
    current = published(job, bot)
    record = job.store.read_json(f"{bot.folder}/{provenance.FILE}")
    job.store.write(f"{bot.folder}/{provenance.FILE}", json.dumps(record | broken).encode())
    [owl, wren] = plan(job, prepared(person("wren", digest="more"), person("owl")), in_use={"wren": current})
    assert (wren.parent, wren.version) == ("", version(job, [person("wren", digest="more")]))
    assert owl.status == "prepared"


def test_a_base_brings_settings_and_the_fleet_file_wins_over_them():
    settings = recipe(fleet(train={"epochs": 4}), ModelFolder(BASE_FILES))
    assert (settings.epochs, settings.block_size, settings.learning_rate) == (4, 128, 1.372e-4)


def test_a_base_without_settings_has_the_originals():
    assert recipe(fleet(), ModelFolder({"config.json": b'{"n_positions": 1024}'})) == Train()


def test_a_default_block_is_cut_to_what_the_base_can_look_at():
    assert recipe(fleet(), ModelFolder({"config.json": b'{"n_positions": 256}'})).block_size == 256
    assert recipe(fleet(), ModelFolder({"config.json": b'{"max_position_embeddings": 64}'})).block_size == 64


def test_a_block_asked_for_that_the_base_cannot_look_at_is_refused():
    with pytest.raises(UsageError, match=r"train\.block_size: 512 exceeds the base model's 256 positions"):
        recipe(fleet(train={"block_size": 512}), ModelFolder(BASE_FILES))


@pytest.mark.parametrize(
    "broken",
    [
        {"train_defaults.json": b"{"},
        {"train_defaults.json": b"[1]"},
        {"train_defaults.json": b'{"epohcs": 1}'},
        {"config.json": b""},
    ],
)
def test_a_base_with_broken_settings_is_named(broken):
    with pytest.raises(UserError, match=r"base_model \./odd: "):
        recipe(fleet(base_model="./odd"), ModelFolder(BASE_FILES | broken))


def test_a_base_with_more_blocks_than_weights_is_refused_before_memory_is_taken(make_fleet, base, tmp_path):
    folder = tmp_path / "huge"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 10**6}))
    with pytest.raises(UserError, match="1,000,000 blocks"):
        open_job(load(make_fleet(base_model=str(folder))))
