"""Activation matching as published: a fresh autoencoder for each picture, and the circuit that its explanation runs on."""
