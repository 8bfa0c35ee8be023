"""LLM-as-a-judge: verdicts that are measured, corrected and guaranteed."""
