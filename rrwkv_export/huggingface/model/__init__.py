"""The code of a transformers model, as it lies in a checkpoint's folder; it imports nothing of this project.

configuration_rrwkv   sizes
modeling_rrwkv        the model: embedding, layers, head; loss, generation
rwkv4_rrwkv           time-mix and channel-mix of RWKV-4
rwkv7_rrwkv           the same of RWKV-7
mixes_rrwkv           what they share
recurrence_rrwkv      wkv and the delta rule, without a loop over tokens; training computes with these too
mediums_rrwkv         made and read; fixed and adaptive intervals
tokenization_rrwkv    the World vocabulary
state_rrwkv           what is carried from call to call, and rows of unequal length
"""
