"""How good a model is: suites with exact verifiers, and stages of one model side by side.

`suites` lets a model answer and checks the answers, `stages` makes the table of dev and unseen.
"""
