"""From a user's PyTorch or ONNX model to a network on the unit, and from there to a model file."""
