"""Fusing classifier and explainer into one ONNX graph, and the gates it must pass. Needs the extra `export`."""
