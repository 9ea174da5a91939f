"""Explain one picture with a fused graph: python examples/explain.py fused.onnx photo.jpg overlay.png."""

import sys

from PIL import Image

from whymask.runtime import load

graph, photo, overlay = sys.argv[1:]

explainer = load(graph)  # says in explainer.provider what runs it
result = explainer.explain(photo)  # a path, a PIL image or a uint8 array of any size

print(f"{result.label}, {result.confidence:.0%} sure, on {result.area:.0%} of the pixels ({explainer.provider})")
print("next:", ", ".join(f"{p.label} {p.confidence:.0%}" for p in result.top(3)[1:]))
print("mask:", result.mask.shape, result.mask.dtype, "saliency:", result.saliency.shape, result.saliency.dtype)

kept = explainer.explain(result.explanation())  # the masked picture, asked again: does the decision stand?
print("on the kept pixels alone:", kept.label, f"{kept.confidence:.0%}")
Image.fromarray(result.overlay()).save(overlay)
