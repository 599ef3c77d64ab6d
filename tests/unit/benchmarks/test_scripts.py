"""Each benchmark starts from the project's folder: what it imports is there, with nothing but the package installed."""

import os
import subprocess
import sys

from tests.support.toys import ROOT

# as `python benchmarks/NAME.py` would import it, but for its main function; one after another, in one process
IMPORT_EACH = """
import runpy, sys
path = list(sys.path)
for script in sys.argv[1:]:
    sys.path[:] = [script.rpartition("/")[0], *path[1:]]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    runpy.run_path(script, run_name="imported")
"""


def test_each_benchmark_finds_what_it_imports(tmp_path):
    for package in ("pipeline", "serve"):  # as if they were installed: nothing else of the project is on the path
        (tmp_path / package).symlink_to(ROOT / package)
    # without load.py: it is locust's to import, which patches the standard library
    scripts = sorted(str(path) for path in (ROOT / "benchmarks").glob("*.py") if path.name != "load.py")
    assert len(scripts) >= 9
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", IMPORT_EACH, *scripts]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
