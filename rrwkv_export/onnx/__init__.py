"""What is ours about ONNX files: nodes under readable names, functions, sessions that carry a state."""
