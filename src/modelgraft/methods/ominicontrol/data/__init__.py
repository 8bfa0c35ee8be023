"""Pictures with their conditions: of the toy world, and of a person's own files."""
