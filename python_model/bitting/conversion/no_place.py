"""What has no place on the unit, and why: modules of PyTorch, their functions, and operators of ONNX."""

from __future__ import annotations

import re

_RECURRENT = "its next step depends on the one before, and a program runs every layer once"
_ATTENTION = "the unit multiplies by stored weights, not by activations"
_NORM = "it needs each sample's own mean and deviation; only batch normalisation has fixed weights that can be folded"
_COMPARISON = "of comparisons, only ReLU and max pooling have a place"

#: The first so many patterns have no place wherever they stand; others may be a constant's, or the end of a model.
_WHEREVER = 5
#: A pattern of names in small letters, and what is said of them. The first that matches counts.
_REASONS = (
    (r"lstm|gru|rnn", f"a recurrent layer: {_RECURRENT}"),
    (r"attention|transformer|bmm|einsum", f"attention: {_ATTENTION}"),
    (r"treeensemble", "a tree ensemble: it compares; train a network on its answers instead"),
    (r"svmclassifier|svmregressor", "a machine of support vectors with a kernel; a linear one has a place"),
    (r"embedding", "an embedding looks rows up by number; give one-hot inputs to a Linear layer"),
    (r"(layer|group|instance|rms|localresponse)_?norm|^normalizer$|^normalize$|lpnormalization", f"a normalisation: {_NORM}"),
    (r"max_?pool", "of max pooling, MaxPool1d and MaxPool2d have a place, without ceil_mode, dilation and return_indices"),
    (r"conv_?transpose|^fold$|col2im", "a transposed convolution; repeat (Upsample) and convolve instead"),
    (r"conv3d|conv_3d|pool3d", "three dimensions; use Conv2d over rows and columns"),
    (r"bilinear|cosine|cdist|pairwise", f"a product of activations: {_ATTENTION}"),
    (r"^(mul|matmul|imul|gemm)$", _ATTENTION),
    (r"^(div|truediv|reciprocal|pow|sqrt|exp|log)$", "the unit adds and multiplies by stored weights"),
    (r"^(maximum|minimum|max|min|amax|amin|topk|sort|argmax|where|reducemax|gt|lt|ge|le|greater|less)$", _COMPARISON),
    (
        r"^(erf|abs|sign)$",
        "a part of an activation function that was taken apart; for GELU, export with opset 20 or newer",
    ),
    (r"glu$", f"a gate: {_ATTENTION}"),
)


def reason(name: str) -> str:
    """Why a module, a function or an operator of this name has no place, or nothing."""
    return next((said for pattern, said in _REASONS if re.search(pattern, name.lower())), "")


def is_named(operator: str) -> bool:
    """Whether an operator of ONNX has no place wherever it stands: a tree, a kernel, a recurrent layer, ..."""
    return any(re.search(pattern, operator.lower()) for pattern, _ in _REASONS[:_WHEREVER])


def refusal(name: str) -> str:
    """What is said of a module, a function or an operator of this name."""
    said = reason(name)
    return f"is not supported: {said}" if said else "is not supported"
