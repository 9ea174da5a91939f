"""MaRC for pictures: masks that are sums of Gaussians, optimised for each picture (arXiv 2508.11388)."""
