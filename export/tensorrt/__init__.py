"""What TensorRT takes, and engines built ahead of time."""
