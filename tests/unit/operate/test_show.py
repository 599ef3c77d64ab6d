"""The settings in force, and where they come from."""

import json


def test_each_setting_says_where_it_comes_from(make_fleet, huggingtweets):
    path = make_fleet(train={"seed": 3, "lora": {"rank": 2}})
    code, out, err = huggingtweets("show", path, "--set", "train.epochs=7", "--json")
    assert code == 0, err
    settings = json.loads(out)
    assert settings["train.epochs"] == {"value": 7, "from": "--set"}
    assert settings["train.seed"] == {"value": 3, "from": "fleet file"}
    assert settings["train.lora.rank"] == {"value": 2, "from": "fleet file"}
    assert settings["train.lora.alpha"]["from"] == "default"
    assert settings["train.learning_rate"] == {"value": 3e-3, "from": "base model"}  # the toy base's train_defaults
    assert settings["train.continue"] == {"value": False, "from": "default"}
    assert settings["serve.port"] == {"value": 8000, "from": "default"}


def test_it_fits_a_terminal_line_each(make_fleet, huggingtweets):
    code, out, _ = huggingtweets("show", make_fleet())
    [line] = [line for line in out.splitlines() if line.startswith("train.learning_rate")]
    assert code == 0 and line.split() == ["train.learning_rate", "base", "model", "0.003"]
