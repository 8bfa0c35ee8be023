"""Stock models in and out: what is trained, what scores, and what reference models have said."""
