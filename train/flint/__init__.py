"""FLINT: attributes learned from a classifier's hidden layers, and a linear interpreter on them (arXiv 2010.09345)."""
