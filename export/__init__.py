"""From a checkpoint to an ONNX file that has passed its gates."""
