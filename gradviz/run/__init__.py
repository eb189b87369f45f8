"""Run over many images and keep what comes out."""
