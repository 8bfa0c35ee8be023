"""Pairs with a known better answer, made by rule."""
