"""The contract with rrwkv-native: which parts of a graph one of its kernels computes, and by which names."""
