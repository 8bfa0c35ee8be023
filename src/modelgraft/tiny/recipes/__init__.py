"""How the small image models were made; each recipe is run by an action of a method."""
