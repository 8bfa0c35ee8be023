"""Instructions whose fulfilment a program can check: the 25 types of IFEval (arXiv 2311.07911).

words, layout and whole hold the rules; table names them and their arguments; truth reads the two
forms of ground truth; scoring judges a response, strictly or loosely.
"""
