"""The study on a GPU: build, verify and time engines in one go; see `python -m whymask.benchmarks.gpu --help`."""
