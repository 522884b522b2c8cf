"""How right a deployment answers, beside how fast: GSM8K from a person's file, judged by the package lm-eval."""
