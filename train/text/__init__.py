"""Rationales for text classifiers: MaRC on token embeddings, measures and baselines. Needs the extra `train`."""
