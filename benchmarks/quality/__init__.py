"""What quantization costs, beside onnxruntime's own quantizers."""
