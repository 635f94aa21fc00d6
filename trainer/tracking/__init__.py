"""Where a run's metrics go: a journal on the disk, and MLflow."""
