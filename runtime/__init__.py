"""Run a fused graph: class, confidence and mask of an image in one forward pass. Needs numpy alone."""
