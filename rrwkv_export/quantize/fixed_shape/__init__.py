"""The graphs in fixed shapes, quantized."""
