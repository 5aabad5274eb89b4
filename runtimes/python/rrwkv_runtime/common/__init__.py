"""What every part of the runtime shares: reading and writing files safely, checks, printable text."""
