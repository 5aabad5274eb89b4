"""`rrwkv` as a process of FSDP's, on a CPU: accelerate knows FSDP for GPUs alone, torch does not mind."""

from __future__ import annotations

import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType

from rrwkv_export.__main__ import main

if __name__ == "__main__":
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    sys.exit(main(sys.argv[1:]))
