"""Label operators: from a photo to what its label is drawn from."""
