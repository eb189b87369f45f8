"""What tests share: networks, savers, run folders, processes."""
