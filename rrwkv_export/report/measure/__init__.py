"""What is measured of two models over a text."""
