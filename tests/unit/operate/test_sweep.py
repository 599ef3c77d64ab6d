"""A sweep without training: which recipes are tried, on which bots, and what is made of the results."""

import pytest
import yaml

from pipeline.core.settings import Sweep, Train
from pipeline.operate.sweep import Recipes, Variant, combinations, page, section, spread, summary
from pipeline.plan.bot import Bot
from pipeline.prepare.index import Person


def bot_of(name: str, tokens: int) -> Bot:
    return Bot(name, [Person(name, {"kept": 10}, 10_000, tokens, "digest")], "v")


def test_every_combination_is_tried_and_what_has_no_values_stays():
    recipe = Train(learning_rate=1e-3, batch_size=2)
    tried = combinations(Sweep(epochs=[1, 2], learning_rate=[1e-3, 2e-3, 4e-3]), recipe)
    assert [(one.epochs, one.learning_rate) for one in tried] == [
        (1, 1e-3), (1, 2e-3), (1, 4e-3), (2, 1e-3), (2, 2e-3), (2, 4e-3),
    ]  # fmt: skip
    assert {one.batch_size for one in tried} == {2}
    assert combinations(Sweep(epochs=[]), recipe) == [recipe]
    tried = combinations(Sweep(epochs=[2], schedule=["cosine", "linear"], warmup_ratio=[0.0, 0.1]), recipe)
    assert [(one.schedule, one.warmup_ratio) for one in tried] == [
        ("cosine", 0.0), ("cosine", 0.1), ("linear", 0.0), ("linear", 0.1),
    ]  # fmt: skip


def test_the_bots_are_of_all_sizes():
    bots = [bot_of(f"b{i}", 10 * i) for i in range(9)]
    assert [bot.name for bot in spread(bots, 3)] == ["b0", "b4", "b8"]
    assert [bot.name for bot in spread(bots[:2], 3)] == ["b0", "b1"]
    assert len(spread(bots, 1)) == 1


def test_lanes_get_the_recipe_of_each_variant():
    recipes = Recipes(**Train(retries=3).model_dump(), of_variant={"ada@0": Train(epochs=2), "ada@1": Train(epochs=9)})
    assert [recipes.of(name, 1000).epochs for name in ("ada@0", "ada@1")] == [2, 9]
    assert recipes.retries == 3
    assert Variant("ada@1", bot_of("ada", 5).people, "v", recipe=1).handles == ["ada"]


RECIPES = [Train(epochs=epochs) for epochs in (1, 2, 4)]
LOSSES = {1: (5.0, 0.5), 2: (4.02, 0.8), 4: (4.0, 0.6)}  # (loss, voice) by epochs


def result():
    variants, known = [], {}
    for number, recipe in enumerate(RECIPES):
        for name in ("ada", "ben"):
            version = f"{name}{number}"
            variants.append(Variant(f"{name}@{number}", [], version, recipe=number))
            loss, voice = LOSSES[recipe.epochs]
            known[version] = {"loss": loss + (0.1 if name == "ben" else -0.1), "voice": voice, "copies": None}
    return summary("toys", RECIPES, variants, known)


def test_the_lowest_loss_is_best_and_voice_decides_between_equals():
    found = result()
    assert [row["settings"]["epochs"] for row in found["recipes"]] == [2, 4, 1]
    assert found["recipes"][0]["loss"] == pytest.approx(4.02) and found["recipes"][0]["copies"] is None
    assert set(found["recipes"][0]["bots"]) == {"ada", "ben"}
    assert yaml.safe_load(section(found)) == {"train": {"epochs": 2}}


def test_the_page_has_plots_the_table_and_the_section():
    shown = page(result())
    assert shown.count("<svg") == 2  # nothing is known of copies
    assert "epochs: 2" in shown and "4.020" in shown


def test_schedules_are_lines_of_the_plots_and_alone_make_none():
    def page_of(epochs):
        recipes = [Train(epochs=one, schedule=schedule) for schedule in ("linear", "cosine") for one in epochs]
        numbers = range(len(recipes))
        variants = [Variant(f"ada@{number}", [], f"v{number}", recipe=number) for number in numbers]
        known = {f"v{number}": {"loss": 4.0 + number, "voice": 0.5, "copies": 0.0} for number in numbers}
        return page(summary("toys", recipes, variants, known))

    shown = page_of([1, 2])
    assert shown.count("<svg") == 3 and "schedule linear: epochs 2" in shown
    assert "schedule: linear" in shown  # to paste
    shown = page_of([2])
    assert "<svg" not in shown and "<td>cosine</td>" in shown
