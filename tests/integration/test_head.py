"""The local head, attacked by code that runs in it."""

import os
from contextlib import suppress

import psutil
import ray

from tests.conftest import SECRET
from tests.support.toys import cluster_processes


def test_secrets_of_the_process_that_started_it_are_in_none_of_its_processes(cluster):
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote())  # with a worker
    processes = cluster_processes()
    assert len(processes) > 5
    for process in processes:
        with suppress(psutil.Error):  # it has just ended
            assert SECRET not in process.environ().values()
    read = ray.remote(num_cpus=0)(lambda: dict(os.environ))
    assert SECRET not in ray.get(read.remote()).values()
