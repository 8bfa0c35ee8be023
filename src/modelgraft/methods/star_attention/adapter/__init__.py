"""Star Attention on stock transformers models: support check, cache, encoding, hosts."""

from modelgraft.core.lazy import need

# The cache layers and the attention table have their present form since this version.
need("transformers", extra="hf", at_least="5.17")
