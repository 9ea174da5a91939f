"""Checks that a map explains the classifier and does not smuggle the answer: randomisation, class change, encoding."""
