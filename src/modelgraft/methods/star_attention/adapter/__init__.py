"""Star Attention on stock transformers models: support check, cache, encoding, hosts."""
