"""Conditions on a stock Flux pipeline: adapters, their files, and both ways of running them."""
