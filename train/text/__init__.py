"""Rationales for text classifiers: MaRC on token embeddings, its measures and its baselines. Needs the extra `train`."""
