"""What a process imports: gateways and commands start fast and stay small."""

import subprocess
import sys

from tests.support.toys import ROOT

HEAVY = ["deepspeed", "polars", "ray.data", "ray.train", "torch", "transformers", "wandb"]


def test_a_gateway_imports_no_library_that_prepares_or_trains():
    program = f"import sys, serve.deployments.gateway; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_run_that_has_nothing_to_train_imports_no_torch():
    heavy = ["deepspeed", "ray.train", "torch", "transformers"]
    program = f"import sys, pipeline.run; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
