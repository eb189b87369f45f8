"""See what a trained vision model's gradients look like."""
