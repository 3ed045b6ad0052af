"""TensorRT and TensorRT-RTX plans of a bundle: shape profiles, building, descriptions."""
