"""One folder per paper; `modelgraft.core.card.find_cards` lists them."""
