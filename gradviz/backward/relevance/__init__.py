"""Layer-wise relevance propagation: the score handed back, operation by operation."""
