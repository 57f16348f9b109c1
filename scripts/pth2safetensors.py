#!/usr/bin/env python3
"""Converts a PyTorch checkpoint (.pth, .pt) to .safetensors for nibble.

usage: pth2safetensors.py IN.pth OUT.safetensors

Needs PyTorch, nowhere else needed by nibble. The pickle must hold a state dict, or a dict with one under "state_dict"
or "model". Tensors keep their names and dtypes.
"""

import json
import struct
import sys

import torch

DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int8: "I8", torch.uint8: "U8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64", torch.bool: "BOOL",
}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip().split("\n")[2])
    state = torch.load(sys.argv[1], map_location="cpu")
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        sys.exit(f"{sys.argv[1]}: holds a {type(state).__name__}, expected a state dict")
    header, blobs, offset = {}, [], 0
    for name, tensor in sorted(state.items()):
        if not isinstance(tensor, torch.Tensor):
            sys.exit(f"{sys.argv[1]}: {name} is a {type(tensor).__name__}, expected a tensor")
        blob = bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[2], "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


if __name__ == "__main__":
    main()
