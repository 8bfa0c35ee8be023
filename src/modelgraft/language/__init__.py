"""Language models and their texts: loading, chat templates, documents."""
