"""Images, labels and ground truth: what a dataset gives, and the views the protocol hands out."""
