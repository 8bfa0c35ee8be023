"""What is asked of the model that draws pairs: items, and the prompts made of them."""
