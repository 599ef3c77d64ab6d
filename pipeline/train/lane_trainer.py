"""Ray Train's TorchTrainer without two processes that a lane has no use for.

Each takes two to three processor seconds to start. This is the one module that reaches into Ray Train's private parts;
pyproject.toml bounds Ray's version for its sake, too.
"""

from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer  # what ray.train.torch has; that one is typed as the old one

# The first starts an actor that hands out shards of data sets: lanes read their tweets themselves. The second starts
# one that frees the places of a controller that died: the driver does it (`placement.free_abandoned_places`).
_UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)


class LaneTrainer(TorchTrainer):
    """A TorchTrainer whose workers are lanes."""

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, _UNUSED)]
