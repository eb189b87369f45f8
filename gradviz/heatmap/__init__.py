"""From a gradient to pictures."""
