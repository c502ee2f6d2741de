"""What an attacker reaches without the stolen file: the control beside every attack that uses it."""

from __future__ import annotations

from bitting.data.dataset import Dataset


def from_scratch(data: Dataset, samples: int) -> float:
    """Test accuracy of who has `samples` labelled training samples and no stolen file: logistic regression."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(data.floats(data.train_x[:samples]), data.train_y[:samples])
    return float(model.score(data.floats(data.test_x), data.test_y))
