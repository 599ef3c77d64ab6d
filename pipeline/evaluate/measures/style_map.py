"""A map of people by how they write: people who write alike are close to each other.

points = layout(handles, np.stack([profile(tweets) for tweets in people]))        # {"nasa": [0.31, -0.7], …}
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.measures.voice import hashing, sample

TWEETS = 200  # of a person, that the profile is made from
_FEATURES = 2**13
_COMPONENTS = 50
_CROWD = 30  # from so many people on, t-SNE shows neighbours better than the two principal components


def profile(tweets: Sequence[str]) -> np.ndarray:
    """How often a person uses each hashed character n-gram: float32 [features]."""
    return np.asarray(hashing(_FEATURES, (2, 4)).transform(sample(tweets, TWEETS)).sum(axis=0), dtype=np.float32)[0]


def layout(handles: list[str], profiles: np.ndarray) -> dict[str, list[float]]:
    """Each person's point [x, y] in the square from -1 to 1, from profiles [people, features].

    Tf-idf over people and a truncated SVD with normalised rows, then t-SNE; for fewer than 30 people the two principal
    components instead.
    """
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    if len(handles) < 3:
        return {handle: [2.0 * i - 1, 0.0] for i, handle in enumerate(handles)}
    weighted: Any = TfidfTransformer(sublinear_tf=True).fit_transform(profiles)
    components = min(_COMPONENTS, len(handles) - 1)
    reduced = normalize(TruncatedSVD(components, random_state=0).fit_transform(weighted))
    if len(handles) < _CROWD:
        points = PCA(2, random_state=0).fit_transform(reduced)
    else:
        perplexity = min(30, (len(handles) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    points = points / max(1e-9, np.abs(points).max())
    return {handle: [round(float(x), 4), round(float(y), 4)] for handle, (x, y) in zip(handles, points, strict=True)}
