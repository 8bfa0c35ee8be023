"""What Star Attention is measured by, on objects the caller passes in.

`benchmark` scores a model on RULER and BABILong and times it against itself; `answers` sets its
answers beside the stock model's; `advice` says what an encoding would cost.
"""
