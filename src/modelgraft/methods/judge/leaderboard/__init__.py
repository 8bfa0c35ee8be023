"""Models rated by comparisons of their answers: battles from files, ratings, win rates."""
