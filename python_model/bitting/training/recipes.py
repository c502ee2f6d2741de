"""What decides a training run, and the settings that come close to the twin's accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitting.errors import BittingError
from bitting.training import architectures


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run, besides the data and the spec.

    Attributes:
        network: "mlp", or one of `networks.CONVOLUTIONAL`.
        hidden: sizes of the hidden layers of an MLP.
        epochs: passes over the training set; the twin gets the same.
        batch: samples a step.
        rate: peak learning rate of Adam on latent weights of unit variance (cosine decay to zero).
        twin_rate: the same for the twin's fp32 weights.
        dropout: of hidden activations; the twin gets the same.
        smoothing: of labels; the twin gets the same.
        spread: see `UnitNetwork.calibrate`. A wide spread folds often: near inputs end far apart unless the weights are exactly
            right, which is what a wrong device must not escape; too wide and training suffers.
        bias: initial biases are drawn from plus or minus this many quarter periods of the fold, where the model has an
            activation function; elsewhere, and in additions, they begin where the fold is linear.
        crests: biases begin at exactly plus or minus `bias` instead, and so do those of additions: one quarter period from 0 is
            a crest, where the fold is an absolute value.
        logits: root mean square at which the weights of the logits begin, in units of the family's sigma; training then finds
            their scale. 0: they are normalised as all others.
        bias_rate: learning rate of the unit's biases, as a share of `rate`: they move a sum along the wave directly.
        gain_rate: the same for the gains of normalised channels.
        usual_rates: `rate` is for weights of the size that PyTorch's layers begin with; latent weights are larger, and so are
            their rates. Else it is for latent weights.
        distillation: share of the twin's answers in what the unit's network learns; the rest are the labels.
        seed: of initial weights and of the order of samples.
        balance: which histogram of codes training keeps: "none", "equal" or "drawn", see `bitting.training.balance`.
        flatten: keep the singular values of every matrix but the last at those of a random one.
    """

    network: str = "mlp"
    hidden: tuple[int, ...] = (128, 64)
    epochs: int = 60
    batch: int = 32
    rate: float = 0.02
    twin_rate: float = 0.005
    dropout: float = 0.1
    smoothing: float = 0.1
    spread: tuple[float, ...] = (0.6,)
    bias: float = 0.0
    crests: bool = False
    logits: float = 0.0
    bias_rate: float = 1.0
    gain_rate: float = 1.0
    usual_rates: bool = False
    distillation: float = 0.0
    seed: int = 0
    balance: str = "none"
    flatten: bool = False


_IMAGES = TrainConfig(
    hidden=(256, 128),
    epochs=36,
    batch=64,
    rate=0.01,
    twin_rate=0.002,
    dropout=0.05,
    smoothing=0.15,
    spread=(0.6, 1.0),
    balance="drawn",
)

#: Recipes that come close to the twin's accuracy within minutes on two cores.
RECIPES = {"digits": TrainConfig(), "mnist": _IMAGES, "fashion-mnist": _IMAGES}

#: Reference convolutional networks, for images. Their weights are too few for the histogram of every tile to be given: drawn
#: histograms cost LeNet a point on Fashion-MNIST.
_LENET = TrainConfig(
    network="lenet", epochs=12, batch=64, rate=0.02, twin_rate=0.002, dropout=0.0, smoothing=0.1, spread=(0.6,), bias=1.0,
    crests=True, logits=0.12, distillation=0.6,
)  # fmt: skip
_CONVOLUTIONAL = {
    "lenet": _LENET,
    # Narrow where sums are added to others (the end of a block's inner way, the shortcut): there the fold is to be linear.
    # Wide for additions, which then neither lose a bit nor need one more.
    "residual": replace(
        _LENET,
        network="residual",
        epochs=10,
        rate=0.01,
        gain_rate=3.0,
        usual_rates=True,
        spread=(0.3, 0.3, 0.15, 1.0, 0.3, 0.15, 0.15, 1.0),
    ),
}


def recipe(data: str, network: str = "mlp") -> TrainConfig:
    """The configuration that a network is trained with on a data set.

    Raises:
        BittingError: if there is none of this name.
    """
    if network == "mlp":
        return RECIPES[data]
    if network not in _CONVOLUTIONAL:
        raise BittingError(f"unknown network {network!r}; allowed: {', '.join(architectures.NAMES)}")
    return _CONVOLUTIONAL[network]
