"""From items to judgments: pairs, points, lists and rankings."""
