"""What is done with the project from end to end; each folder has a README."""
