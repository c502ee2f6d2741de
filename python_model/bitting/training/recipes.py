"""What decides a training run, and the settings that come close to the twin's accuracy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bitting.artefact.claims import SOFT_LOCKS, SPARSITY
from bitting.data.dataset import Dataset
from bitting.errors import BittingError
from bitting.program.interface import Task
from bitting.training import architectures
from bitting.training.balance import Balance
from bitting.training.finetuning import KEPT_RATE


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run, besides the data and the spec.

    Attributes:
        network: "mlp", or one of `architectures.CONVOLUTIONAL`.
        hidden: sizes of the hidden layers of an MLP.
        epochs: passes over the training set; the twin gets the same.
        tuning_epochs: passes of the unit's network, if not as many: of one that is converted from its trained twin.
        batch_size: samples a step.
        learning_rate: peak learning rate of Adam on latent weights of unit variance (cosine decay to zero).
        twin_learning_rate: the same for the twin's fp32 weights.
        dropout: of hidden activations; the twin gets the same.
        label_smoothing: the twin gets the same.
        accumulator_std: see `UnitNetwork.calibrate`. Wide sums fold often: near inputs end far apart unless the weights are
            exactly right, which is what a wrong device must not escape; too wide and training suffers.
        initial_bias: biases begin at random within plus or minus this many quarter periods of the fold, where the model has an
            activation function; elsewhere, and in additions, they begin where the fold is linear.
        bias_at_peaks: biases begin at exactly plus or minus `initial_bias` instead, and so do those of additions: one quarter
            period from 0 is a peak of the wave, where the fold is an absolute value.
        logit_weight_rms: root mean square at which the weights of the logits begin, in units of the family's sigma; training
            then finds their scale. 0: they are normalised as all others.
        bias_lr_ratio: learning rate of the unit's biases over `learning_rate`: they move a sum along the wave directly.
        gain_lr_ratio: the same for the gains of normalised channels.
        scale_lr_by_init: `learning_rate` is for weights of the size that PyTorch's layers begin with; latent weights are
            larger, and their rates grow alike. Else it is for latent weights.
        distillation_weight: share of the twin's answers in what the unit's network learns; the rest are the labels.
        seed: what initial weights, drawn histograms, the order of samples, dropout and what a soft lock draws follow from, see
            `bitting.training.randomness`. None: `train` draws 128 secret bits, which go into the model's file and the
            checkpoint only. A seed that is given makes the model *reproducible*: who knows it trains the same weights again.
        activation: "fold" puts the unit's wave in place of a model's activation functions, "relu" keeps ReLU and begins where
            reconstruction ends (`bitting.convert`). A network of ours with "relu" is trained as its twin first, then converted.
        moved: pixels by which pictures are moved at random, and half of them mirrored, each time they are seen. 0: none are.
        soft: a soft lock, one of `SOFT_LOCKS`, or nothing.
        balance: which histogram of codes training keeps, see `bitting.training.balance`.
        match_random_spectrum: keep the singular values of every matrix but the last at those of a random one.
    """

    network: str = "mlp"
    hidden: tuple[int, ...] = (128, 64)
    epochs: int = 60
    tuning_epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 0.02
    twin_learning_rate: float = 0.005
    dropout: float = 0.1
    label_smoothing: float = 0.1
    accumulator_std: tuple[float, ...] = (0.6,)
    initial_bias: float = 0.0
    bias_at_peaks: bool = False
    logit_weight_rms: float = 0.0
    bias_lr_ratio: float = 1.0
    gain_lr_ratio: float = 1.0
    scale_lr_by_init: bool = False
    distillation_weight: float = 0.0
    seed: int | None = field(default=None, repr=False)
    activation: str = "fold"
    moved: int = 0
    soft: str = ""
    balance: Balance = Balance.NONE
    match_random_spectrum: bool = False

    @property
    def unit_epochs(self) -> int:
        """Passes of the unit's network over the training set."""
        return self.epochs if self.tuning_epochs is None else self.tuning_epochs

    @property
    def epochs_in_all(self) -> int:
        """Passes of both networks."""
        return self.epochs + self.unit_epochs

    @property
    def known_seed(self) -> int:
        """The seed of a configuration that is being trained with: `train` has drawn it by then if nobody gave one."""
        assert self.seed is not None
        return self.seed


_IMAGES = TrainConfig(
    hidden=(256, 128),
    epochs=36,
    batch_size=64,
    learning_rate=0.01,
    twin_learning_rate=0.002,
    dropout=0.05,
    label_smoothing=0.15,
    accumulator_std=(0.6, 1.0),
    balance=Balance.DRAWN,
)

#: Recipes that come close to the twin's accuracy within minutes on two cores.
RECIPES = {"digits": TrainConfig(), "mnist": _IMAGES, "fashion-mnist": _IMAGES}

#: Reference convolutional networks, for images. Their weights are too few for the histogram of every tile to be given: drawn
#: histograms cost LeNet a point on Fashion-MNIST.
_LENET = TrainConfig(
    network="lenet",
    epochs=12,
    batch_size=64,
    learning_rate=0.02,
    twin_learning_rate=0.002,
    dropout=0.0,
    label_smoothing=0.1,
    accumulator_std=(0.6,),
    initial_bias=1.0,
    bias_at_peaks=True,
    logit_weight_rms=0.12,
    distillation_weight=0.6,
)
_CONVOLUTIONAL = {
    "lenet": _LENET,
    # Narrow where sums are added to others (the end of a block's inner way, the shortcut): there the fold is to be linear.
    # Wide for additions, which then neither lose a bit nor need one more.
    "residual": replace(
        _LENET,
        network="residual",
        epochs=10,
        learning_rate=0.01,
        gain_lr_ratio=3.0,
        scale_lr_by_init=True,
        accumulator_std=(0.3, 0.3, 0.15, 1.0, 0.3, 0.15, 0.15, 1.0),
    ),
    # As published, with its ReLU: a network that others know is to stay what it is. Batches are as small as a processor likes.
    "resnet8": TrainConfig(
        network="resnet8",
        epochs=30,
        tuning_epochs=3,
        batch_size=128,
        learning_rate=KEPT_RATE,
        twin_learning_rate=0.004,
        dropout=0.0,
        label_smoothing=0.0,
        distillation_weight=0.5,
        activation="relu",
        moved=4,
    ),
}


#: Tables with fewer samples and no more features get a small network: a larger one learns their noise (diabetes: R squared
#: 0.50 with one hidden layer of 16, 0.26 with two of 64 and 32).
_FEW_SAMPLES, _FEW_WORDS = 600, 64
#: Samples that a network for other data without a recipe sees, epochs together, and the least and most epochs for that.
_SAMPLES_SEEN, _LEAST_EPOCHS, _MOST_EPOCHS = 120_000, 12, 60


def recipe(data: Dataset, network: str = "mlp") -> TrainConfig:
    """The configuration that a network is trained with on a data set; for data of the user's own one that does for most.

    Raises:
        BittingError: if there is none of this name.
    """
    if network == "mlp":
        return RECIPES.get(data.name) or _of_own_data(data)
    if network not in _CONVOLUTIONAL:
        raise BittingError(f"unknown network {network!r}; allowed: {', '.join(architectures.NAMES)}")
    return _CONVOLUTIONAL[network]


def fine_tuning(config: TrainConfig) -> TrainConfig:
    """The configuration with which a model that was kept by conversion is trained on: small steps, and the model teaches."""
    return replace(
        config, activation="relu", epochs=10, tuning_epochs=None, moved=0, learning_rate=KEPT_RATE, label_smoothing=0.0,
        bias_lr_ratio=1.0, logit_weight_rms=0.0, scale_lr_by_init=False, distillation_weight=0.5, balance=Balance.NONE,
        match_random_spectrum=False,
    )  # fmt: skip


def require_soft_lock(name: str) -> None:
    """Raises BittingError if there is no soft lock of this name."""
    if name not in SOFT_LOCKS:
        raise BittingError(f"soft lock {name!r} is unknown; allowed: {', '.join(SOFT_LOCKS)}")


#: What an MLP with a soft lock has otherwise: biases at peaks, where a clamp in the wave's place is wrong for half of all sums.
_SOFT_MLP: dict[str, Any] = {
    "learning_rate": 0.02, "accumulator_std": (0.6,), "initial_bias": 1.0, "bias_at_peaks": True,
}  # fmt: skip


def soft(config: TrainConfig, name: str) -> TrainConfig:
    """The configuration of the same network with a soft lock: the histogram of weights is left to training.

    Raises:
        BittingError: if there is no lock of this name.
    """
    require_soft_lock(name)
    config = replace(
        config, soft=name, bias_lr_ratio=1.0, balance=Balance.NONE, match_random_spectrum=False,
        **(_SOFT_MLP if config.network == "mlp" else {}),
    )  # fmt: skip
    if name != SPARSITY:
        return config
    # Weights of one magnitude learn more where sums reach less far, channels begin all along the wave, and signs turn sooner.
    return replace(
        config, accumulator_std=(0.4,), initial_bias=1.0, bias_at_peaks=False, learning_rate=0.02, scale_lr_by_init=False
    )


def _of_own_data(data: Dataset) -> TrainConfig:
    few = len(data.train_x) < _FEW_SAMPLES and data.words <= _FEW_WORDS
    return replace(
        TrainConfig(),
        hidden=(16,) if few else (128, 64),
        epochs=min(max(_SAMPLES_SEEN // len(data.train_x), _LEAST_EPOCHS), _MOST_EPOCHS),
        batch_size=min(32, max(1, len(data.train_x) // 4)),
        dropout=0.0 if data.task == Task.REGRESSION else 0.1,
    )
