"""Log-probs -> text, and the commands that decode a prepared split."""
