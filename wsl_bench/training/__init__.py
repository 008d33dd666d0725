"""Training a network on image-level labels alone."""
