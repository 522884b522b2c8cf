"""One worker on several ranks: tensor parallel, DP attention and experts, on one node or several."""
