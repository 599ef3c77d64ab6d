"""One run of lanes: a LaneTrainer whose workers are lanes, and a thread of the driver that waits for its end.

run = LaneRun(config, lanes=4, node=node_id, scratch="/tmp/runs")
run.start()
run.join()
print(run.error)
"""

import threading
from typing import Any, cast

import ray.train

from pipeline.core.errors import one_line
from pipeline.core.ray_session import NODE_LABEL
from pipeline.train.lane import LaneConfig, run_lane_worker
from pipeline.train.lane_trainer import LaneTrainer
from pipeline.train.placement import worker_resources

_WRAPPER = "UserExceptionWithTraceback: "  # in which Ray Train passes on an error of a worker


class LaneRun(threading.Thread):
    """A run: lanes of one worker on one node, or one lane of several workers."""

    def __init__(self, config: LaneConfig, lanes: int, node: str | None, scratch: str):
        """`node`: the id of the node that the workers must be on; None: any. `scratch`: a folder for Ray Train."""
        super().__init__(daemon=True, name=config.run)
        self.config, self.lanes, self.node, self.scratch = config, lanes, node, scratch
        # once it has ended:
        self.error = ""  # Ray Train's, whole; empty if the queue had no more work
        self.reason = ""  # the same in one line
        self.died: set[str] = set()  # lanes whose workers raised an error or died
        self.found_no_room = False  # something else took the cores first

    def run(self) -> None:
        """Trains until the lanes end; called by `start`."""
        try:
            self._trainer().fit()
        except Exception as error:
            failures = getattr(error, "worker_failures", {})
            self.died = {f"{self.name}/{rank // self.config.settings.workers_per_bot}" for rank in failures}
            self.error, self.reason = str(error), one_line(next(iter(failures.values()), error)).removeprefix(_WRAPPER)
            self.found_no_room = "WorkerGroupStartupTimeoutError" in self.error

    def _trainer(self) -> LaneTrainer:
        each = worker_resources(self.config.settings)
        return LaneTrainer(
            cast(Any, run_lane_worker),
            train_loop_config={"config": self.config},
            scaling_config=cast(Any, ray.train.ScalingConfig)(
                num_workers=self.lanes * self.config.settings.workers_per_bot,
                use_gpu="GPU" in each,
                resources_per_worker=each,
                label_selector={NODE_LABEL: self.node} if self.node else None,
            ),
            run_config=cast(Any, ray.train.RunConfig)(
                name=self.name,
                storage_path=self.scratch,
                # the driver decides whether and where to start again
                failure_config=cast(Any, ray.train.FailureConfig)(max_failures=0, controller_failure_limit=0),
            ),
        )
