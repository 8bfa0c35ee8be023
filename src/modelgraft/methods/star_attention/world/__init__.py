"""The procedural world of Star Attention: RULER tasks and a stand-in for BABILong.

Every sample is drawn from its own seed, so it does not depend on the samples before it, and is
grown by bisection until prompt and budget fill the length asked for. Nothing here knows a model:
the tokenizer arrives as a function that counts tokens.
"""
