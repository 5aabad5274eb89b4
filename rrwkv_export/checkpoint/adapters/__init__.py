"""LoRA weights, merged onto their base."""
