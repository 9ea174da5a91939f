"""Frozen classifiers, explainers, the objective, the training loop and calibration. Needs the extra `train`."""
