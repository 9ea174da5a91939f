"""Activation matching as published: a fresh autoencoder a picture, and the circuit that its explanation runs on."""
