"""The embedded models: small, stock-class, reproducible from the recipes in this package."""
