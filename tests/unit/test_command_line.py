"""The program itself: help, version, and the order of its commands."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from pipeline.cli import COMMANDS
from tests.support.command_line import our_program
from tests.support.toys import ROOT


def test_h_shows_help_of_the_program_and_of_each_command(huggingtweets):
    code, out, _ = huggingtweets("-h")
    assert code == 0 and "Usage" in out
    for command in our_program().commands:
        code, out, _ = huggingtweets(command, "-h")
        assert code == 0 and "--debug" in out


def test_version(huggingtweets):
    code, out, _ = huggingtweets("--version")
    assert code == 0 and out.strip() == f"huggingtweets-ray {importlib.metadata.version('huggingtweets-ray')}"


@pytest.mark.parametrize(
    "words, offered", [("huggingtweets de", ["demo", "deploy", "detect"]), ("huggingtweets run --wa", ["--wait"])]
)
def test_a_shell_completes_commands_and_options(words, offered):
    program = "import sys; sys.argv = ['huggingtweets']; from pipeline.cli import main; main()"
    asked = {"_HUGGINGTWEETS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


def test_ctrl_c_while_modules_are_imported_ends_the_command_without_a_traceback():
    program = """
import signal, sys
from pipeline.__main__ import main

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.cli":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupted())
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_in_a_callback_that_ignores_errors_ends_the_command_all_the_same():
    program = """
import signal, sys, time
from pipeline.__main__ import main
from pipeline import cli

class Deleted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command():
    Deleted()
    time.sleep(40)

cli.app.registered_commands.clear()
cli.app.command()(cli._with_debug(command))
sys.argv = ["huggingtweets", "command"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_commands_are_listed_in_the_order_of_work(huggingtweets):
    names = [command.__name__ for commands in COMMANDS.values() for command in commands]
    assert list(our_program().commands) == names
    order = ["new", "run", "prepare", "train", "evaluate", "publish", "generate", "deploy", "forget", "submit"]
    assert [name for name in names if name in order] == order
    _, out, _ = huggingtweets("--help")
    assert sorted(names, key=lambda name: out.index(f"│ {name} ")) == names


@pytest.mark.parametrize(("key", "section"), [("epochs", "train"), ("lora", "train"), ("port", "serve")])
def test_a_setting_without_its_section_leads_to_it(make_fleet, huggingtweets, key, section):
    code, _, err = huggingtweets("show", make_fleet(), "--set", f"{key}=2")
    assert code == 2 and f"{key}: unknown key; did you mean `{section}.{key}`?" in err
