"""What each command computes and writes: one folder for each, none of which uses another."""
